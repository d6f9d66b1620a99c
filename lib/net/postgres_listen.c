#include "postgres_listen.h"

#include <stdio.h>
#include <string.h>

#define TOLD_MOST 256 /* in one transaction */

enum telling { TELL_NOTHING = 0, TELL_LISTEN, TELL_UNLISTEN };

struct postgres_entry {
    struct name name;
    struct bcast_topic *topic; /* NULL: nobody wants it any more */
    struct postgres_entry *next_queued, *next_sent;
    enum telling sent; /* what the server is being told about it */
    bool queued;
    bool listens;   /* the server does, as far as we know */
    bool confirmed; /* and did so after the topic was added: what comes is the topic's */
    bool alone;     /* together with others it was refused */
    char text[POSTGRES_NAME_MOST + 1];
};

void listen_init(struct postgres_listen *listen, struct bcast_sink *sink)
{
    *listen = (struct postgres_listen){.sink = sink};
    listen->queue_end = &listen->queue;
    names_init(&listen->names);
}

static void enqueue(struct postgres_listen *listen, struct postgres_entry *entry)
{
    if (entry->queued)
        return;
    entry->queued = true;
    entry->next_queued = NULL;
    *listen->queue_end = entry;
    listen->queue_end = &entry->next_queued;
}

static struct postgres_entry *dequeue(struct postgres_listen *listen)
{
    struct postgres_entry *entry = listen->queue;
    listen->queue = entry->next_queued;
    if (listen->queue == NULL)
        listen->queue_end = &listen->queue;
    entry->queued = false;
    return entry;
}

static struct postgres_entry *entry_of(struct postgres_listen *listen, const char *text, size_t size)
{
    struct postgres_entry *entry = (struct postgres_entry *)(void *)names_find(&listen->names, text, size);
    if (entry != NULL)
        return entry;
    entry = size <= POSTGRES_NAME_MOST ? memory_get(sizeof *entry) : NULL;
    if (entry == NULL)
        return NULL;
    memcpy(entry->text, text, size);
    entry->name.text = entry->text;
    entry->name.size = size;
    if (names_add(&listen->names, &entry->name))
        return entry;
    memory_put(entry);
    return NULL;
}

static void set_topic(struct postgres_entry *entry, struct bcast_topic *topic)
{
    if (entry->topic != NULL)
        entry->topic->state = NULL;
    if (topic != NULL)
        topic->state = entry;
    entry->topic = topic;
    entry->confirmed = false;
}

/* If nobody wants it, and nothing about it is under way. */
static void let_go(struct postgres_listen *listen, struct postgres_entry *entry)
{
    if (entry->topic != NULL || entry->queued || entry->sent != TELL_NOTHING || entry->listens)
        return;
    names_remove(&listen->names, &entry->name);
    memory_put(entry);
}

static void refuse(struct postgres_listen *listen, struct postgres_entry *entry, const char *reason)
{
    struct bcast_topic *topic = entry->topic;
    set_topic(entry, NULL);
    if (topic != NULL)
        listen->sink->subscribed(listen->sink, topic, BCAST_ERR_REFUSED, reason);
    let_go(listen, entry);
}

void listen_forget(struct postgres_listen *listen)
{
    for (struct name *name; (name = names_any(&listen->names)) != NULL;) {
        struct postgres_entry *entry = (struct postgres_entry *)(void *)name;
        names_remove(&listen->names, name);
        set_topic(entry, NULL);
        memory_put(entry);
    }
    listen->queue = listen->sent = NULL;
    listen->queue_end = &listen->queue;
}

/* Topics may be gone already. */
void listen_free(struct postgres_listen *listen)
{
    for (struct name *name; (name = names_any(&listen->names)) != NULL;) {
        names_remove(&listen->names, name);
        memory_put(name);
    }
    names_fini(&listen->names);
    bytes_free(&listen->sql);
}

/* ---------------------------------------------------------------------------------------------------- what is wanted -- */

void listen_add(struct postgres_listen *listen, struct bcast_topic *topic)
{
    struct postgres_entry *entry = entry_of(listen, topic->name, topic->size);
    if (entry == NULL) {
        listen->sink->subscribed(listen->sink, topic, BCAST_ERR_NOMEM, "out of memory");
        return;
    }
    /* Also if the server listens still: what it had sent before its answer to this one is not for this topic. */
    set_topic(entry, topic);
    enqueue(listen, entry);
}

void listen_drop(struct postgres_listen *listen, struct bcast_topic *topic)
{
    struct postgres_entry *entry = topic->state;
    if (entry == NULL)
        return; /* refused */
    set_topic(entry, NULL);
    enqueue(listen, entry);
}

struct bcast_topic *listen_find(struct postgres_listen *listen, const char *channel)
{
    struct postgres_entry *entry =
        (struct postgres_entry *)(void *)names_find(&listen->names, channel, strlen(channel));
    return entry != NULL && entry->confirmed ? entry->topic : NULL;
}

/* ------------------------------------------------------------------------------------------------ what the server knows -- */

static bool append(struct postgres_listen *listen, const char *verb, const char *identifier)
{
    size_t size = strlen(verb) + strlen(identifier) + 2;
    char *at = (char *)bytes_reserve(&listen->sql, size + 1);
    if (at == NULL)
        return false;
    snprintf(at, size + 1, "%s%s; ", verb, identifier);
    bytes_add(&listen->sql, size); /* the next one begins where this one's NUL is */
    return true;
}

/* Puts it into the command. False: it cannot be told, and has been refused. */
static bool tell(struct postgres_listen *listen, struct postgres_link *link, struct postgres_entry *entry)
{
    bool wanted = entry->topic != NULL;
    char *identifier = PQescapeIdentifier(link->conn, entry->text, entry->name.size);
    bool told = identifier != NULL && append(listen, wanted ? "LISTEN " : "UNLISTEN ", identifier);
    if (told) {
        entry->sent = wanted ? TELL_LISTEN : TELL_UNLISTEN;
        entry->next_sent = listen->sent;
        listen->sent = entry;
    } else {
        refuse(listen, entry, identifier == NULL ? PQerrorMessage(link->conn) : "out of memory");
    }
    PQfreemem(identifier);
    return told;
}

bool listen_tell(struct postgres_listen *listen, struct postgres_link *link)
{
    unsigned count = 0;
    listen->sql.start = listen->sql.end = 0;
    while (listen->queue != NULL && count < TOLD_MOST) {
        if (listen->queue->alone && count != 0)
            break;
        struct postgres_entry *entry = dequeue(listen);
        if (entry->topic == NULL && !entry->listens) {
            let_go(listen, entry);
            continue;
        }
        count += tell(listen, link, entry);
        if (count == 1 && listen->sent->alone)
            break;
    }
    return listen->sent != NULL && postgres_ask(link, (const char *)listen->sql.data);
}

/* One bad name makes the server refuse all that came with it: then each is tried by itself. */
static void refused(struct postgres_listen *listen, struct postgres_entry *entry, bool together,
                    const struct postgres_answer *answer)
{
    entry->alone = together;
    if (together)
        enqueue(listen, entry);
    else if (!entry->queued)
        refuse(listen, entry, answer->text);
}

static void done(struct postgres_listen *listen, struct postgres_entry *entry, enum telling told)
{
    entry->alone = false;
    entry->listens = told == TELL_LISTEN;
    if (entry->queued)
        return; /* something else is wanted by now */
    if (entry->topic != NULL) {
        entry->confirmed = true;
        listen->sink->subscribed(listen->sink, entry->topic, BCAST_OK, NULL);
    }
    let_go(listen, entry);
}

void listen_answered(struct postgres_listen *listen, const struct postgres_answer *answer)
{
    struct postgres_entry *entry = listen->sent;
    bool together = entry != NULL && entry->next_sent != NULL;
    listen->sent = NULL;
    for (struct postgres_entry *next; entry != NULL; entry = next) {
        enum telling told = entry->sent;
        next = entry->next_sent;
        entry->sent = TELL_NOTHING;
        if (answer->code[0] == '\0')
            done(listen, entry, told);
        else
            refused(listen, entry, together, answer);
    }
}
