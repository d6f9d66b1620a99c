/* What the files of the proxy share. */
#ifndef INSIDE_H
#define INSIDE_H

#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>

#include "pump.h"

/* Side 0 is the client, side 1 the server; pump[0] goes from side 0 to side 1. */
struct link {
    int fd[2]; /* -1: none, or it has failed */
    uint64_t number;
    struct pump pump[2];
    bool failed[2]; /* this side is gone: to be told to the other one */
    bool hung[2];   /* gone, but nobody is to know: poll would say so again and again */
    bool connecting, mute, draining, over;
    struct pollfd *poll[2];
};

/* What a call wants to happen, once, to all connections. */
struct wish {
    bool cut, fin, half_fin[2], inject[2];
    const void *bytes;
    size_t size;
};

struct plan {
    bool on;
    uint64_t seed, step, end_bytes;
    int64_t end_us;
    int flags;
};

struct proxy {
    pthread_t thread;
    pthread_mutex_t lock; /* all of what follows */
    pthread_cond_t done_changed;
    uint64_t asked, done;
    bool end;
    int wake, listener, reserved;
    struct sockaddr_in here, there;
    struct proxy_rule rules[2];
    uint64_t generation[2], acted[2];
    enum proxy_door door;
    struct wish wish;
    struct plan plan;
    struct link **links;
    size_t count, room;
    struct pollfd *polls;
    struct proxy_stats stats;
};

int64_t inside_now_us(void);
/* From the proxy's thread, or while it waits for `done`. */
void inside_rule(struct proxy *p, enum proxy_way way, const struct proxy_rule *rule);
void inside_calm(struct proxy *p);

/* link.c */
struct link *link_new(struct proxy *p, int client);
void link_free(struct link *l);
void link_reset(struct link *l);
void link_fin(struct link *l);
void link_half_fin(struct link *l, unsigned way);
/* Which events it waits for, and after poll: what can be done is done. *again_us is made the next time to look. */
void link_watch(struct proxy *p, struct link *l);
void link_step(struct proxy *p, struct link *l, int64_t now_us, int64_t *again_us);

/* plan.c: begins the next fault if it is time. */
void plan_step(struct proxy *p, int64_t now_us, int64_t *again_us);

#endif
