/* The keeper of a ring: who changes the chain of segments, one thread at a time. Shared by ring.c, which publishes, and
 * attach.c, where cursors come and go. Knows ring. */
#ifndef KEEPER_H
#define KEEPER_H

#include "ring.h"

/* Tries to get the role; if it is taken, leaves a note that makes the keeper look for something to give back once more. */
bool keeper_try(struct ring *ring);
void keeper_enter(struct ring *ring); /* waits for it: for what may wait, subscribing and unsubscribing */
void keeper_leave(struct ring *ring);

/* The rest is for the keeper only. */

struct room {
    bool full, deadlock;
};

static inline uint64_t at_most(uint64_t value, uint64_t most)
{
    return value < most ? value : most;
}

struct segment *keeper_current(struct ring *ring);
struct ring_limits keeper_tail(struct ring *ring);
struct segment *keeper_get_segment(struct ring *ring); /* a free descriptor; NULL: no memory */
void keeper_put_segment(struct ring *ring, struct segment *segment);
/* Gives back every segment at the head that nobody needs. */
void keeper_reclaim(struct ring *ring);
/* Is there as much to be read at this cursor as its limits allow? */
bool keeper_is_behind(struct ring *ring, struct cursor *cursor);
/* Does a blocking cursor forbid a new segment? */
struct room keeper_room(struct ring *ring);
/* Begins a new segment that takes `need` bytes, or, for 0, one without data. False: no memory. */
bool keeper_roll(struct ring *ring, uint64_t need);
/* Seals the current segment and makes `segment` the next. `dedicated`, if any, goes between the two. Returns the word
 * as it was sealed. Publishers wait between the two writes of `word`, which is why everything that takes time was done
 * before. */
uint64_t keeper_link(struct ring *ring, struct segment *segment, struct segment *dedicated);
/* What the limits of all cursors mean for segments. */
void keeper_set_limits(struct ring *ring);

/* Any thread: a blocking cursor has moved on or is gone; publishers that wait for it look again. */
void ring_space(struct ring *ring);

#endif
