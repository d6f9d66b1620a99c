/* A chat over websockets: whatever one browser sends, all of them get.
 *     chat [PORT [URL]]          PORT 0: any that is free. Then open http://localhost:PORT/
 *
 * Each connection has two threads. The web server's reads the socket and publishes; one of our own waits in bcast_next
 * and writes to the socket. When the browser leaves, bcast_cancel wakes the second. Messages are JSON, which this
 * server hands on without looking at it: {"action":"message","user":"...","message":"..."}
 */
#include <broadcaster/broadcaster.h>

#include <civetweb.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#define CHANNEL "chat"

struct client {
    struct mg_connection *connection;
    struct bcast_sub *sub;
    pthread_t sender;
    int started; /* the sender */
};

/* ---------------------------------------------------------------------------------------- from the room to a browser */

static int send_text(struct client *client, const char *text, size_t size)
{
    return mg_websocket_write(client->connection, MG_WEBSOCKET_OPCODE_TEXT, text, size) > 0;
}

static int send_event(struct client *client, const struct bcast_event *event)
{
    char text[80];
    if (event->kind == BCAST_MESSAGE)
        return send_text(client, event->data, event->size);
    int size = snprintf(text, sizeof text, "{\"action\":\"missed\",\"count\":%llu}", (unsigned long long)event->lost);
    return send_text(client, text, (size_t)size);
}

static void *send_events(void *argument)
{
    struct client *client = argument;
    struct bcast_event event = BCAST_EVENT_INIT;
    int status;
    bcast_foreach(client->sub, &event, status)
    {
        if (!send_event(client, &event))
            break; /* the browser is gone */
    }
    bcast_release(&event);
    return NULL;
}

/* ------------------------------------------------------------------------------------ what the web server calls us for */

/* Somebody wants to come in. Subscribed before the answer, so that a browser that is in misses nothing. */
static int on_connect(const struct mg_connection *connection, void *broadcast)
{
    struct client *client = calloc(1, sizeof *client);
    if (client == NULL || bcast_subscribe(broadcast, CHANNEL, NULL, &client->sub) != BCAST_OK) {
        fprintf(stderr, "refused a client: %s\n", bcast_error_text());
        free(client);
        return 1;
    }
    mg_set_user_connection_data(connection, client);
    return 0;
}

static void on_ready(struct mg_connection *connection, void *broadcast)
{
    struct client *client = mg_get_user_connection_data(connection);
    (void)broadcast;
    client->connection = connection;
    client->started = pthread_create(&client->sender, NULL, send_events, client) == 0;
}

/* 1: go on; 0: hang up. */
static int on_data(struct mg_connection *connection, int bits, char *data, size_t size, void *broadcast)
{
    int whole = bits & 0x80, kind = bits & 0x0f;
    (void)connection;
    if (kind == MG_WEBSOCKET_OPCODE_CONNECTION_CLOSE)
        return 0;
    if (kind == MG_WEBSOCKET_OPCODE_PING || kind == MG_WEBSOCKET_OPCODE_PONG)
        return 1;
    if (kind != MG_WEBSOCKET_OPCODE_TEXT || !whole)
        return 0; /* our page sends neither bytes nor messages in pieces */
    return bcast_publish(broadcast, CHANNEL, data, size) == BCAST_OK;
}

/* The connection ends, whoever ended it: wakes the sender, waits for it, and forgets the client. */
static void on_end(const struct mg_connection *connection)
{
    struct client *client = mg_get_user_connection_data(connection);
    if (client == NULL)
        return;
    mg_set_user_connection_data(connection, NULL);
    bcast_cancel(client->sub);
    if (client->started)
        pthread_join(client->sender, NULL);
    bcast_unsubscribe(client->sub);
    free(client);
}

static void on_close(const struct mg_connection *connection, void *broadcast)
{
    (void)broadcast;
    on_end(connection);
}

static int on_page(struct mg_connection *connection, void *path)
{
    mg_send_mime_file(connection, path, "text/html; charset=utf-8");
    return 200;
}

/* ------------------------------------------------------------------------------------------------------------ the rest */

static struct mg_context *serve(const char *port, struct bcast *b)
{
    /* each connection keeps one of the server's threads */
    const char *options[] = {"listening_ports", port, "num_threads", "100", "enable_websocket_ping_pong", "yes", NULL};
    /* on_end once more, for who left between coming in and on_ready */
    struct mg_callbacks callbacks = {.connection_close = on_end};
    struct mg_context *server = mg_start(&callbacks, NULL, options);
    if (server == NULL)
        return NULL;
    mg_set_websocket_handler(server, "/chat", on_connect, on_ready, on_data, on_close, b);
    mg_set_request_handler(server, "/$", on_page, (void *)PAGE);
    return server;
}

static void wait_for_signal(const sigset_t *signals)
{
    int which;
    sigwait(signals, &which);
}

int main(int count, char **words)
{
    struct mg_server_port port;
    struct bcast *b;
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGTERM);
    pthread_sigmask(SIG_BLOCK, &signals, NULL); /* before there are threads, which inherit it: only sigwait sees them */
    if (bcast_open(count > 2 ? words[2] : "memory://", NULL, &b) != BCAST_OK) {
        fprintf(stderr, "%s\n", bcast_error_text());
        return 1;
    }
    mg_init_library(0);
    struct mg_context *server = serve(count > 1 ? words[1] : "8080", b);
    if (server != NULL && mg_get_server_ports(server, 1, &port) == 1) {
        printf("http://localhost:%d/\n", port.port);
        fflush(stdout);
        wait_for_signal(&signals);
    } else {
        fprintf(stderr, "cannot listen on that port\n");
    }
    bcast_shutdown(b); /* wakes every sender */
    if (server != NULL)
        mg_stop(server); /* on_close for every client */
    mg_exit_library();
    bcast_close(b);
    return server == NULL;
}
