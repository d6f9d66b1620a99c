/* Real servers for tests: on loopback, on a free port, with data in a folder of their own. They and the folder are gone
 * when the test is, however it ends.
 *     struct broker *redis;
 *     if (broker_start("redis", &redis) == 0) {
 *         bcast_open(broker_url(redis), NULL, &b);
 *         ...
 *         broker_end(redis);
 *     }
 * Calls that return int return 0, or -1 having said why on stderr, with what the server had to say. One thread at a
 * time per broker. */
#ifndef BROKER_H
#define BROKER_H

#include <sys/types.h>

struct broker;

/* Starts a server and waits until it answers. The kinds:
 *   redis                 nothing is kept
 *   redis_aof             everything is written to a file before it is answered: it survives the process
 *   redis_acl             users: see redis.sh; URL_PASSWORD, URL_APP (channels app:*), URL_MUTE (may not subscribe),
 *                         URL_NOBODY
 *   redis_tls, redis_mtls a client certificate is optional, or required; CA
 *   redis_tls_expired, redis_tls_wrong_host
 *   redis_unix            no port
 * All of them listen on a Unix socket as well: SOCKET.
 *   postgres              URL_OLD (a user with md5), URL_UNIX, URL_ADMIN, URL_BINARY, URL_LATIN (another encoding)
 *   postgres_base64       the same, and URL is URL_BINARY
 *   postgres_tls          nothing without TLS; URL_BARE says nothing of it
 *   postgres_standby      as postgres, in recovery until it is promoted
 *   pgbouncer             pool_mode=transaction; URL_BEHIND is the server's
 *   kafka                 topics are made when they are first asked for; all its listeners: see kafka.sh
 *   kafka_no_create       they are not */
int broker_start(const char *kind, struct broker **out);
/* With more arguments for the server, NULL-terminated. They stay for every restart. */
int broker_start_with(const char *kind, const char *const *args, struct broker **out);

const char *broker_url(struct broker *b);
/* What its script tells under that name, or NULL. */
const char *broker_value(struct broker *b, const char *name);
/* All of it, NAME=VALUE, NULL-terminated. */
char *const *broker_values(struct broker *b);
unsigned broker_port(struct broker *b);
/* The path of a file in its folder, such as "ca.pem" or "log"; valid until broker_end. */
const char *broker_file(struct broker *b, const char *name);
/* The server's process; 0 while it is stopped. */
pid_t broker_pid(struct broker *b);

int broker_kill(struct broker *b);    /* SIGKILL: no goodbye to anyone */
int broker_stop(struct broker *b);    /* SIGTERM, and waits */
int broker_restart(struct broker *b); /* same port, same data; stops it first if it runs */
int broker_pause(struct broker *b);   /* SIGSTOP: connections stay open, nobody answers */
int broker_resume(struct broker *b);

/* Stops it and removes its folder. NULL is allowed. */
void broker_end(struct broker *b);

/* The kinds there are, NULL-terminated. */
const char *const *broker_kinds(void);

#endif
