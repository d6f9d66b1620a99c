/* One entry of a Redis stream, field by field, as XREAD and XRANGE bring it: the data in "message", the key in "key", each
 * header in a field of its own name. The I/O thread's. Knows redis_id, bytes, backend.h. */
#ifndef NET_REDIS_ENTRY_H
#define NET_REDIS_ENTRY_H

#include "redis_id.h"

struct redis_entry {
    struct redis_id id;
    struct bcast_incoming message; /* whole when redis_entry_field has said so, as long as its element is there */
    char id_text[REDIS_ID_BYTES];
    bool plain;           /* it has nothing but its data: that is never copied */
    struct bytes scratch; /* fields of an entry that has several */
    struct bcast_header headers[256];
    size_t field_count;
};

enum redis_entry_state { REDIS_ENTRY_MORE = 0, REDIS_ENTRY_WHOLE, REDIS_ENTRY_NOMEM };

bool redis_entry_begin(struct redis_entry *entry, const struct redis_element *id); /* false: that is no id */
void redis_entry_fields(struct redis_entry *entry, size_t count);                  /* names and values */
enum redis_entry_state redis_entry_field(struct redis_entry *entry, const struct redis_element *element);
void redis_entry_end(struct redis_entry *entry);    /* the message has been handed on */
void redis_entry_forget(struct redis_entry *entry); /* what is there of it, and its memory */

#endif
