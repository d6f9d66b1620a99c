#include "io_thread.h"
#include "base/error.h"
int io_new(struct bcast *b, struct io **out, struct bcast_sink **sink){(void)b;(void)out;(void)sink;return BCAST_ERR_UNSUPPORTED;}
int io_start(struct io *io){(void)io;return 0;}
void io_shut(struct io *io){(void)io;}
void io_stop(struct io *io){(void)io;}
int io_publish(struct io *io, struct channel *c, const struct bcast_message *m, int64_t d){(void)io;(void)c;(void)m;(void)d;return 0;}
int io_flush(struct io *io, int64_t d){(void)io;(void)d;return 0;}
int io_want(struct io *io, struct channel *c, int64_t d){(void)io;(void)c;(void)d;return 0;}
void io_unwant(struct io *io, struct channel *c){(void)io;(void)c;}
void io_stats(struct io *io, struct bcast_stats *s){(void)io;(void)s;}
