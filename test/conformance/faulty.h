/* A broker in this process, and a backend for it that can be told to be wrong: see faulty.c. */
#ifndef FAULTY_H
#define FAULTY_H

#include <broadcaster/backend.h>

#include <stdbool.h>

/* One broker; zeroed and given to faulty_broker_init. It is the `context` of bcast_open_backend. */
struct faulty_broker;

/* The defect by its name; "none": the backend is as it should be. NULL: out of memory, or no such defect. */
struct faulty_broker *faulty_broker_new(const char *defect);
void faulty_broker_free(struct faulty_broker *broker); /* when no connection is left */

/* For struct bcast_conformance; the context is the broker. */
int faulty_open(void *broker, const struct bcast_options *options, struct bcast **out);
int faulty_stop(void *broker);
int faulty_start(void *broker);

#endif
