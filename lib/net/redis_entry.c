#include "redis_entry.h"

bool redis_entry_begin(struct redis_entry *entry, const struct redis_element *id)
{
    entry->message = (struct bcast_incoming){.data = NULL};
    entry->field_count = 0;
    if (id->type != REDIS_TEXT || !redis_id_read(id->text, id->size, &entry->id))
        return false;
    redis_id_write(entry->id_text, entry->id);
    return true;
}

void redis_entry_fields(struct redis_entry *entry, size_t count)
{
    entry->field_count = count;
}

static enum redis_entry_state whole(struct redis_entry *entry)
{
    struct bcast_incoming *message = &entry->message;
    message->id = entry->id_text;
    message->timestamp_us = entry->id.ms <= INT64_MAX / 1000 ? (int64_t)entry->id.ms * 1000 : 0;
    if (message->data == NULL)
        message->data = "";
    return REDIS_ENTRY_WHOLE;
}

static bool is_field(const struct redis_element *element, const char *name)
{
    return element->size == strlen(name) && memcmp(element->text, name, element->size) == 0;
}

/* A field, name or value, of an entry that has more than one: kept until the entry is whole. Where in `scratch`, counted
 * from its start, as that may move. */
static bool keep_field(struct redis_entry *entry, const struct redis_element *element, size_t *where)
{
    unsigned char *room = bytes_reserve(&entry->scratch, element->size + 1);
    if (room == NULL)
        return false;
    if (element->size != 0)
        memcpy(room, element->text, element->size);
    room[element->size] = '\0';
    *where = bytes_queued(&entry->scratch) + 1;
    bytes_add(&entry->scratch, element->size + 1);
    return true;
}

static const char *kept(const struct redis_entry *entry, size_t where)
{
    return (const char *)entry->scratch.data + entry->scratch.start + where - 1;
}

/* All fields are there: what they are. */
static enum redis_entry_state sort_fields(struct redis_entry *entry)
{
    struct bcast_incoming *message = &entry->message;
    size_t used = 0;
    for (size_t i = 0; i < message->header_count; i++) {
        struct bcast_header *field = &entry->headers[i];
        const char *name = kept(entry, (size_t)(uintptr_t)field->name),
                   *value = kept(entry, (size_t)(uintptr_t)field->value);
        if (strcmp(name, "message") == 0) {
            message->data = value;
            message->size = field->value_size;
        } else if (strcmp(name, "key") == 0) {
            message->key = value;
            message->key_size = field->value_size;
        } else {
            entry->headers[used++] = (struct bcast_header){name, value, field->value_size};
        }
    }
    message->headers = entry->headers;
    message->header_count = used;
    return whole(entry);
}

/* One of several. More than anybody can have are left out. */
static enum redis_entry_state take_one_of(struct redis_entry *entry, const struct redis_element *element)
{
    size_t where = 0, most = sizeof entry->headers / sizeof *entry->headers;
    bool value = element->index % 2 != 0, last = element->index + 1 == entry->field_count;
    struct bcast_header *field = &entry->headers[entry->message.header_count];
    if (entry->message.header_count < most) {
        if (!keep_field(entry, element, &where))
            return REDIS_ENTRY_NOMEM;
        if (!value) {
            field->name = (const char *)(uintptr_t)where;
        } else {
            field->value = (const void *)(uintptr_t)where;
            field->value_size = element->size;
            entry->message.header_count++;
        }
    }
    return last ? sort_fields(entry) : REDIS_ENTRY_MORE;
}

enum redis_entry_state redis_entry_field(struct redis_entry *entry, const struct redis_element *element)
{
    if (element->index == 0)
        entry->plain = entry->field_count == 2 && is_field(element, "message");
    if (!entry->plain)
        return take_one_of(entry, element);
    if (element->index != 1)
        return REDIS_ENTRY_MORE;
    entry->message.data = element->text;
    entry->message.size = element->size;
    return whole(entry);
}

void redis_entry_end(struct redis_entry *entry)
{
    bytes_take(&entry->scratch, bytes_queued(&entry->scratch));
}

void redis_entry_forget(struct redis_entry *entry)
{
    bytes_free(&entry->scratch);
}
