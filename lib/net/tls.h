/* What a backend's URL says about TLS. Knows OpenSSL. */
#ifndef NET_TLS_H
#define NET_TLS_H

#include <openssl/ssl.h>
#include <stdbool.h>

#include "broadcaster/backend.h"

/* Reads tls_ca, tls_cert, tls_key, tls_verify and tls_name of the URL; NULL parameters are the defaults: the system's
 * certificates, no certificate of our own, the server's is verified, its name too. BCAST_OK; or URL, REFUSED, NOMEM with
 * a sentence in setup->error. */
int tls_open(const struct bcast_backend_setup *setup, SSL_CTX **out);
/* For one connection, not yet begun; NULL: no memory. `host`: whose certificate it should be. */
SSL *tls_connection(SSL_CTX *context, const struct bcast_url *url, const char *host, int fd);
/* What went wrong, for people; empties OpenSSL's queue of errors. True: trying again is of no use. */
bool tls_complaint(SSL *ssl, char *text, size_t size);

#define TLS_PARAMS "tls_ca", "tls_cert", "tls_key", "tls_verify", "tls_name"

#endif
