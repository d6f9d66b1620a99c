/* Which channels a connection listens to: what is wanted, what the server was asked, and what it has confirmed. The I/O
 * thread's. Knows postgres_link, names, bytes, base and backend.h. */
#ifndef NET_POSTGRES_LISTEN_H
#define NET_POSTGRES_LISTEN_H

#include "bytes.h"
#include "names.h"
#include "postgres_link.h"

#define POSTGRES_NAME_MOST 63 /* bytes of a channel's name: NAMEDATALEN less one */

struct postgres_entry;

struct postgres_listen {
    struct bcast_sink *sink;
    struct names names;
    struct postgres_entry *queue, **queue_end; /* the server has to be told about them */
    struct postgres_entry *sent;               /* it is being told */
    struct bytes sql;
};

void listen_init(struct postgres_listen *listen, struct bcast_sink *sink);
void listen_free(struct postgres_listen *listen);
void listen_forget(struct postgres_listen *listen); /* the connection is gone: topics are subscribed anew */

void listen_add(struct postgres_listen *listen, struct bcast_topic *topic);
void listen_drop(struct postgres_listen *listen, struct bcast_topic *topic);
/* Tells the server what it does not know yet. False: there is nothing to tell; or the link has failed. */
bool listen_tell(struct postgres_listen *listen, struct postgres_link *link);
/* The answer to that. */
void listen_answered(struct postgres_listen *listen, const struct postgres_answer *answer);
/* Whom a notification on this channel is for; NULL: nobody, or nobody yet. */
struct bcast_topic *listen_find(struct postgres_listen *listen, const char *channel);

#endif
