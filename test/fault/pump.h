/* Bytes that go one way of one connection: what has been read and not yet written, and how much of it may go now. No
 * sockets in here. */
#ifndef PUMP_H
#define PUMP_H

#include "proxy.h"

#define PUMP_ROOM 65536
#define PUMP_MARKS 64

struct pump {
    unsigned char *data; /* what is held, from the start */
    size_t held, room;
    uint64_t written; /* bytes that have gone */
    uint64_t read;    /* bytes that have come */
    size_t due;       /* of `held`, so many may go as far as the delay is concerned */
    size_t burst;     /* of these, so many have been set free by merging */
    int64_t held_since_us, last_due_us;
    struct {
        size_t size;
        int64_t due_us;
    } marks[PUMP_MARKS]; /* what is not yet due */
    unsigned marks_count;
    int64_t budget, budget_us;         /* of a drip: bytes in millionths */
    uint64_t counted_from, generation; /* of the rule: what `after` counts */
    bool acted, silenced;              /* by the rule's action */
    bool eof;                          /* nothing more will come */
    bool shut;                         /* and that has been passed on */
    bool blocked;                      /* the socket takes no more */
};

/* Chance that depends on the place only. */
uint64_t pump_chance(uint64_t seed, uint64_t connection, unsigned way, uint64_t place);

/* A new rule came into force. */
void pump_rule(struct pump *pump, uint64_t generation);

/* How many bytes may be read now. */
size_t pump_room(const struct pump *pump, const struct proxy_rule *rule);
/* These bytes came; they are changed on the way if the rule says so. `key` is the connection's and way's chance. */
void pump_push(struct pump *pump, const struct proxy_rule *rule, uint64_t key, const unsigned char *bytes, size_t size,
               int64_t now_us);
/* Puts bytes before those that are held; they may go at once. */
void pump_inject(struct pump *pump, const void *bytes, size_t size);

/* How many bytes may be written now. Otherwise *again_us is made the time to ask again, if that is earlier. */
size_t pump_ready(struct pump *pump, const struct proxy_rule *rule, uint64_t key, int64_t now_us, int64_t *again_us);
void pump_wrote(struct pump *pump, size_t size, int64_t now_us);
/* Is it time for the rule's action? */
bool pump_acts(const struct pump *pump, const struct proxy_rule *rule);

void pump_free(struct pump *pump);

#endif
