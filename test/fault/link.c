/* One connection through the proxy. */
#define _GNU_SOURCE
#include "inside.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static uint64_t key_of(const struct proxy *p, const struct link *l, unsigned way)
{
    return pump_chance(p->rules[way].seed, l->number, way, 0);
}

static bool silent(const struct proxy *p, const struct link *l, unsigned way)
{
    return l->mute || p->rules[way].silent || l->pump[way].silenced;
}

static void close_side(struct link *l, unsigned side)
{
    if (l->fd[side] >= 0)
        close(l->fd[side]);
    l->fd[side] = -1;
}

static void reset_side(struct link *l, unsigned side)
{
    struct linger at_once = {1, 0};
    if (l->fd[side] >= 0)
        setsockopt(l->fd[side], SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
    close_side(l, side);
}

void link_reset(struct link *l)
{
    reset_side(l, 0);
    reset_side(l, 1);
    l->over = true;
}

/* Closing at once would be a reset if something has not been read: so it is read, and dropped, until the other end. */
void link_fin(struct link *l)
{
    for (unsigned side = 0; side < 2; side++)
        if (l->fd[side] >= 0)
            shutdown(l->fd[side], SHUT_WR);
    l->draining = true;
}

void link_half_fin(struct link *l, unsigned way)
{
    struct pump *pump = &l->pump[way];
    if (l->fd[!way] >= 0 && !pump->shut)
        shutdown(l->fd[!way], SHUT_WR);
    pump->shut = true;
    pump->held = pump->due = pump->burst = 0;
    pump->marks_count = 0;
    memset(pump->marks, 0, sizeof pump->marks);
}

static int dial(const struct proxy *p)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
    if (connect(fd, (const struct sockaddr *)&p->there, sizeof p->there) == 0 || errno == EINPROGRESS)
        return fd;
    close(fd);
    return -1;
}

struct link *link_new(struct proxy *p, int client)
{
    struct link *l = calloc(1, sizeof *l);
    if (l == NULL)
        abort();
    setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
    l->fd[0] = client;
    l->fd[1] = -1;
    l->number = p->stats.connections;
    l->mute = p->door == PROXY_MUTE;
    for (unsigned way = 0; way < 2; way++)
        pump_rule(&l->pump[way], p->generation[way]);
    if (l->mute)
        return l;
    l->fd[1] = dial(p);
    l->connecting = true;
    if (l->fd[1] < 0)
        link_reset(l);
    return l;
}

void link_free(struct link *l)
{
    close_side(l, 0);
    close_side(l, 1);
    pump_free(&l->pump[0]);
    pump_free(&l->pump[1]);
    free(l);
}

/* ------------------------------------------------------------------------------------------------------ watching -- */

static short wanted(const struct proxy *p, const struct link *l, unsigned side)
{
    const struct pump *in = &l->pump[side], *out = &l->pump[!side];
    short events = 0;
    if (l->draining)
        return in->eof ? 0 : POLLIN;
    if (l->connecting)
        return side == 1 ? POLLOUT : 0;
    if (!l->mute && pump_room(in, &p->rules[side]) > 0)
        events |= POLLIN;
    if (out->blocked && !silent(p, l, !side))
        events |= POLLOUT;
    return events;
}

static void obey_rules(const struct proxy *p, struct link *l)
{
    for (unsigned way = 0; way < 2; way++)
        if (l->pump[way].generation != p->generation[way])
            pump_rule(&l->pump[way], p->generation[way]);
}

void link_watch(struct proxy *p, struct link *l)
{
    obey_rules(p, l);
    for (unsigned side = 0; side < 2; side++) {
        short events = wanted(p, l, side);
        l->poll[side]->fd = l->hung[side] && events == 0 ? -1 : l->fd[side];
        l->poll[side]->events = events;
        l->poll[side]->revents = 0;
    }
}

/* ------------------------------------------------------------------------------------------------------ stepping -- */

static void fail(struct link *l, unsigned side)
{
    l->failed[side] = true;
    close_side(l, side);
}

static void connect_step(struct link *l, short events)
{
    int error = 0;
    socklen_t size = sizeof error;
    if (events == 0)
        return;
    getsockopt(l->fd[1], SOL_SOCKET, SO_ERROR, &error, &size);
    l->connecting = false;
    if (error != 0)
        fail(l, 1);
}

static void read_step(struct proxy *p, struct link *l, unsigned side, int64_t now_us)
{
    unsigned char bytes[PUMP_ROOM];
    struct pump *pump = &l->pump[side];
    size_t room = l->draining ? sizeof bytes : pump_room(pump, &p->rules[side]);
    if (l->fd[side] < 0 || room == 0 || l->mute || pump->eof)
        return;
    ssize_t got = recv(l->fd[side], bytes, room < sizeof bytes ? room : sizeof bytes, 0);
    if (got > 0 && !l->draining && !pump->shut)
        pump_push(pump, &p->rules[side], key_of(p, l, side), bytes, (size_t)got, now_us);
    else if (got == 0)
        pump->eof = true;
    else if (got < 0 && errno != EAGAIN && errno != EINTR)
        fail(l, side);
}

static void side_step(struct proxy *p, struct link *l, unsigned side, int64_t now_us)
{
    short events = l->poll[side]->revents;
    if (events & POLLOUT)
        l->pump[!side].blocked = false;
    if (events & (POLLIN | POLLHUP | POLLERR))
        read_step(p, l, side, now_us);
    l->hung[side] = events & (POLLHUP | POLLERR) && l->poll[side]->events == 0;
}

static void act(struct proxy *p, struct link *l, unsigned way)
{
    const struct proxy_rule *rule = &p->rules[way];
    struct pump *pump = &l->pump[way];
    pump->acted = true;
    if (rule->times != 0 && p->acted[way] >= rule->times)
        return;
    p->acted[way]++;
    p->stats.actions++;
    switch (rule->action) {
    case PROXY_NOTHING: break;
    case PROXY_RESET: link_reset(l); break;
    case PROXY_FIN: link_fin(l); break;
    case PROXY_HALF_FIN: link_half_fin(l, way); break;
    case PROXY_INJECT: pump_inject(pump, rule->bytes, rule->size); break;
    case PROXY_SILENCE: pump->silenced = true; break;
    }
}

static void write_step(struct proxy *p, struct link *l, unsigned way, int64_t now_us, int64_t *again_us)
{
    struct pump *pump = &l->pump[way];
    if (pump->blocked || l->fd[!way] < 0)
        return;
    size_t size = pump_ready(pump, &p->rules[way], key_of(p, l, way), now_us, again_us);
    if (size == 0)
        return;
    ssize_t sent = send(l->fd[!way], pump->data, size, MSG_NOSIGNAL);
    if (sent >= 0) {
        pump_wrote(pump, (size_t)sent, now_us);
        p->stats.bytes[way] += (uint64_t)sent;
        *again_us = now_us; /* there may be more; but first the others have their turn */
    } else if (errno == EAGAIN) {
        pump->blocked = true;
    } else if (errno != EINTR) {
        fail(l, !way);
    }
}

static void way_step(struct proxy *p, struct link *l, unsigned way, int64_t now_us, int64_t *again_us)
{
    struct pump *pump = &l->pump[way];
    if (silent(p, l, way) || l->connecting || l->over || l->draining)
        return;
    if (pump_acts(pump, &p->rules[way]))
        act(p, l, way);
    if (l->over || l->draining || pump->silenced)
        return;
    write_step(p, l, way, now_us, again_us);
    if (pump->eof && pump->held == 0 && !pump->shut)
        link_half_fin(l, way);
    if (l->failed[way])
        link_reset(l);
}

void link_step(struct proxy *p, struct link *l, int64_t now_us, int64_t *again_us)
{
    if (l->over)
        return;
    obey_rules(p, l);
    if (l->connecting)
        connect_step(l, l->poll[1]->revents);
    else
        for (unsigned side = 0; side < 2; side++)
            side_step(p, l, side, now_us);
    for (unsigned way = 0; way < 2; way++)
        way_step(p, l, way, now_us, again_us);
    bool ended[2];
    for (unsigned side = 0; side < 2; side++)
        ended[side] = l->fd[side] < 0 || l->pump[side].eof;
    if (l->draining ? ended[0] && ended[1] : l->pump[0].shut && l->pump[1].shut && ended[0] && ended[1])
        l->over = true;
}
