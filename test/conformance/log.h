/* A broker in this process that keeps messages, in two parts for each channel, and a backend for it. */
#ifndef LOG_H
#define LOG_H

#include <broadcaster/backend.h>

#include <stdbool.h>

struct log_broker;

struct log_broker *log_broker_new(size_t kept); /* so many messages of each channel. NULL: no memory */
void log_broker_free(struct log_broker *broker);

/* For struct bcast_conformance; the context is the broker. */
int log_open(void *broker, const struct bcast_options *options, struct bcast **out);
int log_stop(void *broker);
int log_start(void *broker);

/* Every connection is cut, once; those that are made then are taken. */
void log_cut(struct log_broker *broker);
/* From now on every connection is cut in the middle of an answer to a fetch, after so many messages in all; 0: no more. */
void log_cut_fetches(struct log_broker *broker, unsigned after);
/* Subscriptions are told of messages only when so many more have followed; what is fetched is what there is. */
void log_lag(struct log_broker *broker, size_t messages);
/* How many messages were handed to subscriptions, and how many were fetched. */
unsigned long log_told(struct log_broker *broker);
unsigned long log_fetched(struct log_broker *broker);
/* What was kept of a channel is forgotten, but for the last `kept`. */
void log_trim(struct log_broker *broker, const char *channel, size_t kept);

#endif
