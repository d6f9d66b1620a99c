/* What text may hold, and bytes as text. */
#ifndef NET_TEXT_H
#define NET_TEXT_H

#include <stdbool.h>
#include <stddef.h>

/* UTF-8 as databases take it: no surrogates, nothing longer than it must be, nothing beyond U+10FFFF. */
bool text_is_utf8(const void *bytes, size_t size);

/* Base64 of RFC 4648. Writes at most (size + 2) / 3 * 4 characters, returns how many. `padded`: with '=' at the end. */
size_t text_to_base64(const void *bytes, size_t size, bool padded, char *out);
/* With or without '='. Writes at most size / 4 * 3 + 2 bytes. False: it is none. */
bool text_from_base64(const char *text, size_t size, unsigned char *out, size_t *out_size);

#endif
