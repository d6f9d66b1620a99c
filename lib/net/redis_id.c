#include "redis_id.h"

#include <stdio.h>

size_t redis_id_write(char text[REDIS_ID_BYTES], struct redis_id id)
{
    return (size_t)snprintf(text, REDIS_ID_BYTES, "%llu-%llu", (unsigned long long)id.ms, (unsigned long long)id.seq);
}

static bool read_number(const char **at, const char *end, uint64_t *out)
{
    const char *begin = *at;
    for (*out = 0; *at != end && **at >= '0' && **at <= '9'; ++*at) {
        uint64_t digit = (uint64_t)(**at - '0');
        if (*out > (UINT64_MAX - digit) / 10)
            return false;
        *out = 10 * *out + digit;
    }
    return *at != begin;
}

bool redis_id_read(const char *text, size_t size, struct redis_id *out)
{
    const char *end = text + size;
    return read_number(&text, end, &out->ms) && text != end && *text++ == '-' && read_number(&text, end, &out->seq) &&
           text == end;
}

bool redis_id_next(struct redis_id id, struct redis_id *out)
{
    bool carry = id.seq == UINT64_MAX;
    *out = (struct redis_id){id.ms + carry, id.seq + 1};
    return !carry || id.ms != UINT64_MAX;
}

struct redis_id redis_id_before(struct redis_id id)
{
    if (id.seq != 0)
        return (struct redis_id){id.ms, id.seq - 1};
    return id.ms != 0 ? (struct redis_id){id.ms - 1, UINT64_MAX} : id;
}

enum { FIELD_OTHER = 0, FIELD_LENGTH, FIELD_ADDED, FIELD_LAST, FIELD_DELETED, FIELD_OLDEST, FIELD_NEWEST };

static unsigned field_of(const struct redis_element *element)
{
    static const struct {
        const char *name;
        unsigned field;
    } fields[] = {{"length", FIELD_LENGTH},          {"entries-added", FIELD_ADDED},
                  {"last-generated-id", FIELD_LAST}, {"max-deleted-entry-id", FIELD_DELETED},
                  {"first-entry", FIELD_OLDEST},     {"last-entry", FIELD_NEWEST}};
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++)
        if (element->type == REDIS_TEXT && element->size == strlen(fields[i].name) &&
            memcmp(element->text, fields[i].name, element->size) == 0)
            return fields[i].field;
    return FIELD_OTHER;
}

static void take_id(struct redis_info *info, const struct redis_element *element, bool of_entry)
{
    struct redis_id *id = of_entry && info->field == FIELD_OLDEST     ? &info->oldest
                          : of_entry && info->field == FIELD_NEWEST   ? &info->newest
                          : !of_entry && info->field == FIELD_LAST    ? &info->last
                          : !of_entry && info->field == FIELD_DELETED ? &info->deleted
                                                                      : NULL;
    if (id != NULL && element->type == REDIS_TEXT)
        (void)redis_id_read(element->text, element->size, id);
}

void redis_info_take(struct redis_info *info, const struct redis_element *element, unsigned depth)
{
    if (element->depth == depth)
        *info = (struct redis_info){.exists = element->type == REDIS_ARRAY};
    if (element->depth == depth + 2 && element->index == 0) /* of an entry: its id */
        take_id(info, element, true);
    if (element->depth != depth + 1)
        return;
    if (element->index % 2 == 0) {
        info->field = field_of(element);
        return;
    }
    bool number = element->type == REDIS_NUMBER && element->number >= 0;
    if (info->field == FIELD_LENGTH && number)
        info->length = (uint64_t)element->number;
    if (info->field == FIELD_ADDED && number) {
        info->added = (uint64_t)element->number;
        info->counts = true;
    }
    take_id(info, element, false);
}

bool redis_info_is_none(const struct redis_element *error)
{
    static const char none[] = "ERR no such key";
    return error->size == sizeof none - 1 && memcmp(error->text, none, error->size) == 0;
}
