#ifndef BASE_ERROR_H
#define BASE_ERROR_H

/* Remembers the sentence for this thread's bcast_error_text() and returns `status`, so that a caller can
 * `return error_set(BCAST_ERR_URL, "…")`. Truncates at 511 bytes; never allocates, never fails. */
int error_set(int status, const char *format, ...) __attribute__((format(printf, 2, 3)));

#define error_nomem() error_set(BCAST_ERR_NOMEM, "out of memory")

#endif
