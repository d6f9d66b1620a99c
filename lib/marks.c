#define _POSIX_C_SOURCE 200809L
#include "marks.h"

#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "broadcaster/broadcaster.h"

struct marks *marks_new(mark_order *order)
{
    struct marks *marks = memory_get(sizeof *marks);
    if (marks == NULL)
        return NULL;
    pthread_mutex_init(&marks->mutex, NULL); /* on Linux it cannot fail */
    marks->order = order;
    atomic_init(&marks->references, 1);
    return marks;
}

struct marks *marks_ref(struct marks *marks)
{
    atomic_fetch_add_explicit(&marks->references, 1, memory_order_relaxed); /* the caller has another one */
    return marks;
}

void marks_unref(struct marks *marks)
{
    /* release: our use of it is over; acquire: so is everybody's, for who frees it */
    if (marks == NULL || atomic_fetch_sub_explicit(&marks->references, 1, memory_order_acq_rel) != 1)
        return;
    pthread_mutex_destroy(&marks->mutex);
    memory_put(marks->all);
    memory_put(marks);
}

static bool is_id(const char *id, size_t size)
{
    if (size == 0 || size >= MARK_BYTES)
        return false;
    for (size_t i = 0; i < size; i++)
        if (id[i] <= ' ' || id[i] > '~' || strchr(",;=%", id[i]) != NULL)
            return false;
    return true;
}

static uint32_t part_of(const char *id, size_t size)
{
    const char *colon = memchr(id, ':', size);
    return colon != NULL ? (uint32_t)(colon + 1 - id) : 0;
}

static bool same_part(const struct mark *mark, const char *id, uint32_t part)
{
    return mark->part == part && memcmp(mark->id, id, part) == 0;
}

/* Messages of one part often follow each other. */
static struct mark *find(struct marks *marks, const char *id, uint32_t part)
{
    if (marks->last < marks->count && same_part(&marks->all[marks->last], id, part))
        return &marks->all[marks->last];
    for (size_t i = 0; i < marks->count; i++)
        if (same_part(&marks->all[i], id, part)) {
            marks->last = i;
            return &marks->all[i];
        }
    return NULL;
}

static struct mark *add(struct marks *marks)
{
    if (marks->count == marks->room) {
        size_t room = marks->room == 0 ? 1 : 2 * marks->room;
        struct mark *all = memory_get(room * sizeof *all);
        if (all == NULL)
            return NULL;
        if (marks->count != 0)
            memcpy(all, marks->all, marks->count * sizeof *all);
        memory_put(marks->all);
        marks->all = all;
        marks->room = room;
    }
    return &marks->all[marks->count++];
}

static int note(struct marks *marks, const char *id, size_t size)
{
    uint32_t part = part_of(id, size);
    struct mark *mark = find(marks, id, part);
    if (mark == NULL && (mark = add(marks)) == NULL)
        return error_nomem();
    memcpy(mark->id, id, size);
    mark->id[size] = '\0';
    mark->part = part;
    marks->set = true;
    return BCAST_OK;
}

int marks_note(struct marks *marks, const char *id)
{
    size_t size = strlen(id);
    return size < MARK_BYTES ? note(marks, id, size) : BCAST_ERR_INVALID; /* a backend that breaks its word */
}

static int note_given(struct marks *marks, const char *id, size_t size)
{
    if (!is_id(id, size))
        return error_set(BCAST_ERR_INVALID, "'%.*s' is not a place in a channel", (int)(size < 80 ? size : 80), id);
    return note(marks, id, size);
}

int marks_set(struct marks *marks, const char *position)
{
    struct marks fresh = {.count = 0};
    int status = BCAST_OK;
    for (const char *at = position;;) {
        size_t size = strcspn(at, ",");
        status = note_given(&fresh, at, size);
        if (status != BCAST_OK || at[size] == '\0')
            break;
        at += size + 1;
    }
    if (status != BCAST_OK) {
        memory_put(fresh.all);
        return status;
    }
    memory_put(marks->all);
    marks->all = fresh.all;
    marks->count = fresh.count;
    marks->room = fresh.room;
    marks->last = 0;
    marks->set = true;
    return BCAST_OK;
}

void marks_doubt(struct marks *marks, bool doubtful)
{
    for (size_t i = 0; i < marks->count; i++)
        marks->all[i].doubtful = doubtful;
    marks->doubtful = doubtful && marks->count != 0;
}

static bool any_doubtful(const struct marks *marks)
{
    for (size_t i = 0; i < marks->count; i++)
        if (marks->all[i].doubtful)
            return true;
    return false;
}

bool marks_has(struct marks *marks, const char *id)
{
    struct mark *mark = find(marks, id, part_of(id, strlen(id)));
    if (mark == NULL || !mark->doubtful)
        return false;
    mark->doubtful = marks->order(id, mark->id) <= 0;
    marks->doubtful = any_doubtful(marks);
    return mark->doubtful;
}

bool marks_cover(struct marks *marks, const char *position)
{
    struct marks other = {.count = 0};
    bool cover = marks_set(&other, position) == BCAST_OK;
    for (size_t i = 0; i < other.count && cover; i++) {
        const struct mark *one = &other.all[i], *mark = find(marks, one->id, one->part);
        cover = mark != NULL && marks->order(one->id, mark->id) <= 0;
    }
    memory_put(other.all);
    return cover;
}

size_t marks_write(const struct marks *marks, char *buffer, size_t size)
{
    size_t length = 0;
    for (size_t i = 0; i < marks->count; i++) {
        const char *id = marks->all[i].id;
        for (size_t j = i == 0; j <= strlen(id); j++, length++) /* a comma, and the id */
            if (length + 1 < size)
                buffer[length] = j == 0 ? ',' : id[j - 1];
    }
    if (size != 0)
        buffer[length < size ? length : size - 1] = '\0';
    return length;
}

char *marks_text(struct marks *marks)
{
    pthread_mutex_lock(&marks->mutex);
    size_t length = marks_write(marks, NULL, 0);
    char *text = memory_get(length + 1);
    if (text != NULL)
        marks_write(marks, text, length + 1);
    pthread_mutex_unlock(&marks->mutex);
    return text;
}
