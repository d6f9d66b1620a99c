/* What a record carries besides its data: key, headers, id, timestamp, in one block. Knows base. */
#ifndef EXTRA_H
#define EXTRA_H

#include "broadcaster/backend.h"

#define EXTRA_MAX_KEY 65535u
#define EXTRA_MAX_HEADERS 256u
#define EXTRA_MAX_BYTES (1u << 20)

struct extra {
    int64_t timestamp_us;
    uint32_t key_size; /* EXTRA_NONE: no key */
    uint32_t id_size;  /* its NUL counted; 0: no id */
    uint32_t header_count;
    uint32_t reserved;
    /* then: the key, the id, and for each header: sizes of name (NUL counted) and value, name, value */
};

#define EXTRA_NONE UINT32_MAX

/* Bytes of the block, 0 if none is needed. BCAST_OK, or the error, with its text, if a limit is broken. */
int extra_measure(const struct bcast_incoming *message, uint32_t *size);
/* Of what arrives, and may have more than anybody can publish here, as much as has room: all of it, or `less`, which is without
 * key and headers. And the bytes of that. */
const struct bcast_incoming *extra_fit(const struct bcast_incoming *message, struct bcast_incoming *less,
                                       uint32_t *size);
void extra_write(unsigned char *block, const struct bcast_incoming *message);

#endif
