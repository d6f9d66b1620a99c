#include "tls.h"

#include <arpa/inet.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>

#include "base/param.h"

static int refuse(const struct bcast_backend_setup *setup, const char *what, const char *file)
{
    char reason[160] = "";
    unsigned long code = ERR_peek_last_error();
    ERR_error_string_n(code, reason, sizeof reason);
    snprintf(setup->error, setup->error_size, "%s %s cannot be used: %s", what, file, reason);
    ERR_clear_error();
    return BCAST_ERR_URL;
}

/* Whether the server's certificate is looked at at all. */
static int read_verify(const struct bcast_backend_setup *setup, SSL_CTX *context)
{
    const char *verify = param_text(setup->url, "tls_verify");
    if (verify == NULL || strcmp(verify, "full") == 0) {
        SSL_CTX_set_verify(context, SSL_VERIFY_PEER, NULL);
        return BCAST_OK;
    }
    if (strcmp(verify, "none") == 0) {
        SSL_CTX_set_verify(context, SSL_VERIFY_NONE, NULL);
        return BCAST_OK;
    }
    snprintf(setup->error, setup->error_size, "tls_verify is \"full\" (the default) or \"none\", not \"%s\"", verify);
    return BCAST_ERR_URL;
}

static int read_files(const struct bcast_backend_setup *setup, SSL_CTX *context)
{
    const char *ca = param_text(setup->url, "tls_ca"), *certificate = param_text(setup->url, "tls_cert");
    const char *key = param_text(setup->url, "tls_key");
    if (ca != NULL && SSL_CTX_load_verify_locations(context, ca, NULL) != 1)
        return refuse(setup, "tls_ca", ca);
    if (ca == NULL && SSL_CTX_set_default_verify_paths(context) != 1)
        return refuse(setup, "the system's certificates", "");
    if (certificate != NULL && SSL_CTX_use_certificate_chain_file(context, certificate) != 1)
        return refuse(setup, "tls_cert", certificate);
    if (key == NULL)
        key = certificate;
    if (key != NULL && SSL_CTX_use_PrivateKey_file(context, key, SSL_FILETYPE_PEM) != 1)
        return refuse(setup, "tls_key", key);
    return BCAST_OK;
}

int tls_open(const struct bcast_backend_setup *setup, SSL_CTX **out)
{
    OPENSSL_init_ssl(OPENSSL_INIT_NO_ATEXIT, NULL); /* the host program's end is not ours to tidy */
    SSL_CTX *context = SSL_CTX_new(TLS_client_method());
    if (context == NULL)
        return BCAST_ERR_NOMEM;
    SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION);
    SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    int status = read_verify(setup, context);
    if (status == BCAST_OK)
        status = read_files(setup, context);
    if (status == BCAST_OK)
        *out = context;
    else
        SSL_CTX_free(context);
    return status;
}

static bool is_address(const char *host)
{
    unsigned char bytes[sizeof(struct in6_addr)];
    return inet_pton(AF_INET, host, bytes) == 1 || inet_pton(AF_INET6, host, bytes) == 1;
}

/* Whose certificate the server must show. A name is also told to the server, which may have several. */
static bool expect(SSL *ssl, const char *name)
{
    if (is_address(name))
        return X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), name) == 1;
    SSL_set_hostflags(ssl, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    return SSL_set_tlsext_host_name(ssl, name) == 1 && SSL_set1_host(ssl, name) == 1;
}

SSL *tls_connection(SSL_CTX *context, const struct bcast_url *url, const char *host, int fd)
{
    const char *name = param_text(url, "tls_name");
    SSL *ssl = SSL_new(context);
    if (ssl == NULL)
        return NULL;
    if (expect(ssl, name != NULL ? name : host) && SSL_set_fd(ssl, fd) == 1) {
        SSL_set_connect_state(ssl);
        return ssl;
    }
    SSL_free(ssl);
    return NULL;
}

/* The server says that it does not want us: our certificate, or that there is none. */
static bool is_final_alert(int reason)
{
    switch (reason) {
    case SSL_R_TLSV13_ALERT_CERTIFICATE_REQUIRED:
    case SSL_R_SSLV3_ALERT_BAD_CERTIFICATE:
    case SSL_R_SSLV3_ALERT_CERTIFICATE_EXPIRED:
    case SSL_R_SSLV3_ALERT_CERTIFICATE_REVOKED:
    case SSL_R_SSLV3_ALERT_CERTIFICATE_UNKNOWN:
    case SSL_R_SSLV3_ALERT_UNSUPPORTED_CERTIFICATE:
    case SSL_R_TLSV1_ALERT_UNKNOWN_CA:
    case SSL_R_TLSV1_ALERT_ACCESS_DENIED: return true;
    default: return false;
    }
}

bool tls_complaint(SSL *ssl, char *text, size_t size)
{
    unsigned long code = ERR_peek_error();
    const char *reason = ERR_reason_error_string(code);
    long verified = SSL_get_verify_result(ssl);
    ERR_clear_error();
    if (verified != X509_V_OK && (SSL_CTX_get_verify_mode(SSL_get_SSL_CTX(ssl)) & SSL_VERIFY_PEER)) {
        snprintf(text, size, "the server's certificate is not trusted: %s (tls_ca, tls_name, tls_verify)",
                 X509_verify_cert_error_string(verified));
        return true;
    }
    snprintf(text, size, "TLS: %s", reason != NULL ? reason : "the connection ended");
    return ERR_GET_LIB(code) == ERR_LIB_SSL && is_final_alert(ERR_GET_REASON(code));
}
