/* Positions as texts. Of one channel: what its backend makes of it; of memory://, epoch and sequence. Of a subscription:
 * v1;CHANNEL=POSITION;CHANNEL=POSITION..., with channels percent-encoded. Knows base. */
#ifndef POSITION_H
#define POSITION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct position { /* in a channel without a broker: of the message to come next */
    uint64_t epoch, sequence;
};

#define POSITION_BYTES 40 /* of its text, NUL included */

void position_write(char text[POSITION_BYTES], const struct position *position);
/* The first `size` bytes of `text`. BCAST_OK or BCAST_ERR_INVALID, with its text. */
int position_read(const char *text, size_t size, struct position *out);

/* Finds the channel's position in a subscription's. BCAST_OK or BCAST_ERR_INVALID, with its text. */
int position_find(const char *text, const char *channel, size_t channel_size, const char **position, size_t *size);

/* Writes a subscription's: `length` counts on when the buffer is full. */
struct position_writer {
    char *buffer;
    size_t size, length;
};
void position_begin(struct position_writer *writer, char *buffer, size_t size);
void position_add(struct position_writer *writer, const char *channel, size_t channel_size, const char *position);
bool position_end(struct position_writer *writer); /* false: it does not fit */

#endif
