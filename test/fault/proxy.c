#define _GNU_SOURCE
#include "inside.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

int64_t inside_now_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

/* ------------------------------------------------------------------------------------------------------ the door -- */

/* `listening` false: a socket that only keeps the port ours, while nobody listens. */
static int bind_here(const struct proxy *p, bool listening)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd >= 0 && setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int)) == 0 &&
        bind(fd, (const struct sockaddr *)&p->here, sizeof p->here) == 0 && (!listening || listen(fd, 128) == 0))
        return fd;
    if (fd >= 0)
        close(fd);
    return -1;
}

static void tend_door(struct proxy *p)
{
    if (p->door == PROXY_REFUSE && p->listener >= 0) {
        close(p->listener);
        p->listener = -1;
    } else if (p->door != PROXY_REFUSE && p->listener < 0) {
        p->listener = bind_here(p, true);
    }
}

static void slam(int fd)
{
    struct linger at_once = {1, 0};
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
    close(fd);
}

static void add_link(struct proxy *p, struct link *l)
{
    if (p->count == p->room) {
        p->room = p->room * 2 + 8;
        p->links = realloc(p->links, p->room * sizeof *p->links);
        p->polls = realloc(p->polls, (p->room * 2 + 2) * sizeof *p->polls);
        if (p->links == NULL || p->polls == NULL)
            abort();
    }
    p->links[p->count++] = l;
}

static void receive(struct proxy *p)
{
    int fd = p->listener < 0 ? -1 : accept4(p->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd < 0)
        return;
    p->stats.connections++;
    if (p->door == PROXY_SLAM)
        slam(fd);
    else
        add_link(p, link_new(p, fd));
}

/* ---------------------------------------------------------------------------------------------------- the thread -- */

static void grant(struct proxy *p)
{
    for (size_t i = 0; i < p->count; i++) {
        struct link *l = p->links[i];
        for (unsigned way = 0; way < 2; way++) {
            if (p->wish.inject[way])
                pump_inject(&l->pump[way], p->wish.bytes, p->wish.size);
            if (p->wish.half_fin[way])
                link_half_fin(l, way);
        }
        if (p->wish.fin)
            link_fin(l);
        if (p->wish.cut)
            link_reset(l);
    }
    memset(&p->wish, 0, sizeof p->wish);
}

static void sweep(struct proxy *p)
{
    size_t kept = 0;
    for (size_t i = 0; i < p->count; i++)
        if (p->links[i]->over)
            link_free(p->links[i]);
        else
            p->links[kept++] = p->links[i];
    p->count = kept;
    p->stats.open = kept;
}

static nfds_t watch(struct proxy *p)
{
    nfds_t count = 2;
    p->polls[0] = (struct pollfd){p->wake, POLLIN, 0};
    p->polls[1] = (struct pollfd){p->door == PROXY_IGNORE ? -1 : p->listener, POLLIN, 0};
    for (size_t i = 0; i < p->count; i++) {
        p->links[i]->poll[0] = &p->polls[count++];
        p->links[i]->poll[1] = &p->polls[count++];
        link_watch(p, p->links[i]);
    }
    return count;
}

static void wait_for_events(struct proxy *p, int64_t again_us)
{
    nfds_t count = watch(p);
    int64_t now = inside_now_us(), timeout = again_us == INT64_MAX ? -1 : (again_us - now + 999) / 1000;
    if (timeout < -1)
        timeout = 0;
    p->done = p->asked;
    pthread_cond_broadcast(&p->done_changed);
    pthread_mutex_unlock(&p->lock);
    poll(p->polls, count, again_us <= now ? 0 : (int)timeout);
    pthread_mutex_lock(&p->lock);
}

static void *serve(void *argument)
{
    struct proxy *p = argument;
    int64_t again_us = 0;
    uint64_t times;
    pthread_mutex_lock(&p->lock);
    while (!p->end) {
        grant(p);
        tend_door(p);
        sweep(p);
        wait_for_events(p, again_us);
        again_us = INT64_MAX;
        if (p->polls[0].revents != 0 && read(p->wake, &times, sizeof times) > 0)
            again_us = 0; /* a new rule: all have to be looked at */
        int64_t now = inside_now_us();
        for (size_t i = 0; i < p->count; i++)
            link_step(p, p->links[i], now, &again_us);
        if (p->polls[1].revents != 0) {
            receive(p);
            again_us = now;
        }
        plan_step(p, now, &again_us);
    }
    p->done = p->asked;
    pthread_cond_broadcast(&p->done_changed);
    pthread_mutex_unlock(&p->lock);
    return NULL;
}

/* --------------------------------------------------------------------------------------------------------- calls -- */

static void ask(struct proxy *p)
{
    uint64_t one = 1, mine = ++p->asked;
    if (write(p->wake, &one, sizeof one) < 0)
        abort();
    while (p->done < mine)
        pthread_cond_wait(&p->done_changed, &p->lock);
}

static const void *copy(const void *bytes, size_t size)
{
    void *mine = size != 0 ? malloc(size) : NULL;
    if (size != 0 && mine == NULL)
        abort();
    if (size != 0)
        memcpy(mine, bytes, size);
    return mine;
}

void inside_rule(struct proxy *p, enum proxy_way way, const struct proxy_rule *rule)
{
    static const struct proxy_rule none;
    struct proxy_rule *mine = &p->rules[way];
    struct proxy_rule next = rule != NULL ? *rule : none;
    next.replace = copy(next.replace, next.replace_size);
    next.bytes = copy(next.bytes, next.size);
    free((void *)mine->replace);
    free((void *)mine->bytes);
    *mine = next;
    p->generation[way]++;
    p->acted[way] = 0;
}

void inside_calm(struct proxy *p)
{
    inside_rule(p, PROXY_TO_SERVER, NULL);
    inside_rule(p, PROXY_TO_CLIENT, NULL);
    p->door = PROXY_OPEN;
}

void proxy_rule(struct proxy *p, enum proxy_way way, const struct proxy_rule *rule)
{
    pthread_mutex_lock(&p->lock);
    inside_rule(p, way, rule);
    ask(p);
    pthread_mutex_unlock(&p->lock);
}

void proxy_door(struct proxy *p, enum proxy_door door)
{
    pthread_mutex_lock(&p->lock);
    p->door = door;
    ask(p);
    pthread_mutex_unlock(&p->lock);
}

void proxy_calm(struct proxy *p)
{
    pthread_mutex_lock(&p->lock);
    p->plan.on = false;
    inside_calm(p);
    ask(p);
    pthread_mutex_unlock(&p->lock);
}

void proxy_plan(struct proxy *p, uint64_t seed, int flags)
{
    pthread_mutex_lock(&p->lock);
    inside_calm(p);
    p->plan = (struct plan){.on = true, .seed = seed, .flags = flags};
    ask(p);
    pthread_mutex_unlock(&p->lock);
}

static void wish(struct proxy *p, struct wish what)
{
    pthread_mutex_lock(&p->lock);
    while (p->done < p->asked) /* another's wish is not yet granted */
        pthread_cond_wait(&p->done_changed, &p->lock);
    p->wish = what;
    ask(p);
    pthread_mutex_unlock(&p->lock);
}

void proxy_cut(struct proxy *p)
{
    wish(p, (struct wish){.cut = true});
}

void proxy_fin(struct proxy *p)
{
    wish(p, (struct wish){.fin = true});
}

void proxy_half_fin(struct proxy *p, enum proxy_way way)
{
    struct wish what = {.cut = false};
    what.half_fin[way] = true;
    wish(p, what);
}

void proxy_inject(struct proxy *p, enum proxy_way way, const void *bytes, size_t size)
{
    struct wish what = {.bytes = bytes, .size = size};
    what.inject[way] = true;
    wish(p, what);
}

struct proxy_stats proxy_stats(struct proxy *p)
{
    pthread_mutex_lock(&p->lock);
    struct proxy_stats stats = p->stats;
    pthread_mutex_unlock(&p->lock);
    return stats;
}

unsigned proxy_port(const struct proxy *p)
{
    return ntohs(p->here.sin_port);
}

/* ------------------------------------------------------------------------------------------------- start and end -- */

static int complain(const char *what)
{
    fprintf(stderr, "proxy: %s: %s\n", what, strerror(errno));
    return -1;
}

static void put_away(struct proxy *p)
{
    for (size_t i = 0; i < p->count; i++) {
        link_reset(p->links[i]);
        link_free(p->links[i]);
    }
    if (p->listener >= 0)
        close(p->listener);
    if (p->reserved >= 0)
        close(p->reserved);
    if (p->wake >= 0)
        close(p->wake);
    inside_calm(p);
    free(p->links);
    free(p->polls);
    pthread_mutex_destroy(&p->lock);
    pthread_cond_destroy(&p->done_changed);
    free(p);
}

static int begin(struct proxy *p, const char *host, unsigned port, unsigned listen_port)
{
    p->here = (struct sockaddr_in){
        .sin_family = AF_INET, .sin_port = htons((uint16_t)listen_port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    p->there = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    errno = EINVAL;
    if (inet_pton(AF_INET, host, &p->there.sin_addr) != 1)
        return complain(host);
    socklen_t size = sizeof p->here;
    p->reserved = bind_here(p, false);
    if (p->reserved < 0 || getsockname(p->reserved, (struct sockaddr *)&p->here, &size) != 0)
        return complain("no port");
    p->listener = bind_here(p, true);
    p->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    p->polls = calloc(2, sizeof *p->polls);
    if (p->listener < 0 || p->wake < 0 || p->polls == NULL)
        return complain("cannot listen");
    errno = pthread_create(&p->thread, NULL, serve, p);
    return errno == 0 ? 0 : complain("thread");
}

int proxy_start(const char *host, unsigned port, unsigned listen_port, struct proxy **out)
{
    struct proxy *p = *out = calloc(1, sizeof *p);
    if (p == NULL)
        return -1;
    p->listener = p->reserved = p->wake = -1;
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->done_changed, NULL);
    if (begin(p, host, port, listen_port) == 0)
        return 0;
    put_away(p);
    *out = NULL;
    return -1;
}

void proxy_end(struct proxy *p)
{
    if (p == NULL)
        return;
    pthread_mutex_lock(&p->lock);
    p->end = true;
    ask(p);
    pthread_mutex_unlock(&p->lock);
    pthread_join(p->thread, NULL);
    put_away(p);
}
