/* Writes JSON. What is UTF-8 becomes a string; what is not, base64 under a name that says so. */
#ifndef JSON_H
#define JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

/* Is it UTF-8: no overlong forms, no surrogates, nothing above U+10FFFF, nothing cut off? */
bool json_utf8(const void *data, size_t size);
/* A string, quotes included; `data` is UTF-8. */
void json_string(FILE *out, const void *data, size_t size);
void json_base64(FILE *out, const void *data, size_t size);
/* "name":"…", or "name_base64":"…"; `data` NULL: "name":null. */
void json_bytes(FILE *out, const char *name, const void *data, size_t size);
/* "name":"…", of a string that ends with NUL; NULL as above. */
void json_text(FILE *out, const char *name, const char *text);

#endif
