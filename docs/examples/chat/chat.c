/* A chat over websockets: what one browser says in a room, every browser in that room gets, on every server that has
 * the same broker.
 *     chat-server [-p PORT] [-c CLIENTS] [URL [ROOM...]]
 * Then open http://localhost:PORT/. PORT 0 is any that is free; 127.0.0.1:8080 is for this machine only.
 *
 * Each connection has two threads. The web server's reads the socket and publishes; one of our own waits for events and
 * writes them to the socket. When the browser leaves, bcast_cancel wakes the second.
 *
 * A room is a channel. On it there are messages only, {"action":"message","user":"...","message":"..."}, so that
 * other programs can take part. What this server has to tell its browsers (the state of the connection, that a message
 * failed) takes another way: a second broadcast, over memory, which each connection waits for along with its room.
 */
#include <broadcaster/broadcaster.h>

#include <civetweb.h>
#include <inttypes.h>
#include <jansson.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

enum {
    HISTORY = 50,    /* messages that a newcomer is shown */
    LARGEST = 65536, /* bytes of a message, either way */
    NESTED = 8,      /* brackets within each other in a message, which needs one */
    BEHIND = 1000,   /* messages that a slow browser may be behind before it misses some */
    SPARE = 20       /* threads of the web server for pages, when all that clients may have are taken */
};

/* Reasons to hang up, from RFC 6455. */
enum { GOING_AWAY = 1001, UNSUPPORTED = 1003, BROKEN = 1011, TRY_LATER = 1013 };

struct client {
    struct mg_connection *connection;
    struct bcast_channel *room;
    struct bcast_sub *messages, *notices;
    uintptr_t number;
    pthread_t sender;
    bool sending;      /* there is a sender */
    bool said_goodbye; /* who reads it has joined the sender */
    atomic_bool over;  /* nothing is sent any more */
};

static struct {
    struct bcast *rooms, *notices;
    char **names; /* of the rooms */
    size_t count, keeps;
    atomic_uintptr_t numbers;
    pthread_mutex_t lock;
    pthread_cond_t left; /* a client */
    unsigned clients, max_clients;
    char state[512]; /* the last notice of it */
} chat = {.lock = PTHREAD_MUTEX_INITIALIZER, .left = PTHREAD_COND_INITIALIZER, .max_clients = 1000};

/* ------------------------------------------------------------------------------------------------ to one browser -- */

static bool send_text(struct client *client, const char *text, size_t size)
{
    return mg_websocket_write(client->connection, MG_WEBSOCKET_OPCODE_TEXT, text, size) > 0;
}

/* Takes `frame`. NULL, which jansson gives when it cannot make one, is not sent. */
static bool send_frame(struct client *client, json_t *frame)
{
    char *text = json_dumps(frame, JSON_COMPACT);
    bool sent = text == NULL || send_text(client, text, strlen(text));
    free(text);
    json_decref(frame);
    return sent;
}

static bool send_error(struct client *client, const char *why)
{
    return send_frame(client, json_pack("{s:s, s:s}", "action", "error", "why", why));
}

static void hang_up(struct client *client, int code, const char *why)
{
    char data[125];
    int size = snprintf(data, sizeof data, "%c%c%s", code >> 8, code & 0xff, why);
    mg_websocket_write(client->connection, MG_WEBSOCKET_OPCODE_CONNECTION_CLOSE, data, (size_t)size);
    client->said_goodbye = true;
}

/* jansson goes one call deeper with each bracket, and the web server's threads have small stacks. */
static bool is_flat(const char *text, size_t size)
{
    bool quoted = false;
    int depth = 0;
    for (size_t i = 0; i < size && depth <= NESTED; i++) {
        if (text[i] == '"')
            quoted = !quoted;
        else if (quoted)
            i += text[i] == '\\';
        else
            depth += (text[i] == '[' || text[i] == '{') - (text[i] == ']' || text[i] == '}');
    }
    return depth <= NESTED;
}

/* A message as it is on the channel; NULL: it is none, and `error` says why. Strangers write there, too, so this is
 * asked of what comes from either side: a browser hangs up at a text that is not UTF-8, for one, and jansson refuses
 * it. */
static json_t *parse(const char *text, size_t size, json_error_t *error)
{
    const char *action, *user, *words;
    if (size > LARGEST || !is_flat(text, size)) {
        snprintf(error->text, sizeof error->text, "at most %d bytes, nested %d deep", LARGEST, NESTED);
        return NULL;
    }
    json_t *message = json_loadb(text, size, JSON_REJECT_DUPLICATES, error);
    if (message == NULL)
        return NULL;
    const char *members = "{s:s, s:s, s:s}";
    int failed = json_unpack_ex(message, error, 0, members, "action", &action, "user", &user, "message", &words);
    if (failed == 0 && strcmp(action, "message") == 0)
        return message;
    if (failed == 0)
        snprintf(error->text, sizeof error->text, "the action is not \"message\"");
    json_decref(message);
    return NULL;
}

static bool send_message(struct client *client, const struct bcast_event *event)
{
    json_error_t error;
    json_t *message = parse(event->data, event->size, &error);
    if (message == NULL)
        return send_error(client, "Something else than a message came along this room's channel.");
    if (event->timestamp_us != 0)
        json_object_set_new(message, "at", json_integer(event->timestamp_us / 1000));
    return send_frame(client, message);
}

static bool send_gap(struct client *client, const struct bcast_event *gap)
{
    json_t *count = gap->count == BCAST_COUNT_UNKNOWN ? json_null() : json_integer((json_int_t)gap->lost);
    bool exact = gap->count == BCAST_EXACT;
    return send_frame(client, json_pack("{s:s, s:o, s:b}", "action", "missed", "count", count, "exact", exact));
}

/* What `status`, of bcast_next, and the event ask for. False: nothing can be sent any more. */
static bool send_notice(struct client *client, int status, const struct bcast_event *event)
{
    if (status == BCAST_OK)
        return event->kind == BCAST_GAP || send_text(client, event->data, event->size);
    if (status == BCAST_TIMEOUT)
        return true;
    hang_up(client, GOING_AWAY, "the server is closing");
    return false;
}

static bool send_from_room(struct client *client, int status, const struct bcast_event *event)
{
    if (status == BCAST_OK)
        return event->kind == BCAST_GAP ? send_gap(client, event) : send_message(client, event);
    if (status == BCAST_TIMEOUT)
        return true;
    if (status != BCAST_ERR_CLOSED) { /* which says that the browser has left */
        send_error(client, bcast_error_text());
        hang_up(client, BROKEN, "the room is closed");
    }
    return false;
}

/* An event of each in turn, so that neither has to wait for the end of the other's. Only when both have said that there
 * is nothing do their descriptors tell when there is. */
static void *send_events(void *argument)
{
    struct client *client = argument;
    struct bcast_event event = BCAST_EVENT_INIT;
    struct pollfd fds[] = {{bcast_fd(client->notices), POLLIN, 0}, {bcast_fd(client->messages), POLLIN, 0}};
    for (;;) {
        int notice = bcast_next(client->notices, &event, BCAST_NOWAIT);
        if (!send_notice(client, notice, &event))
            break;
        int message = bcast_next(client->messages, &event, BCAST_NOWAIT);
        if (!send_from_room(client, message, &event))
            break;
        if (notice == BCAST_TIMEOUT && message == BCAST_TIMEOUT)
            poll(fds, 2, -1);
    }
    bcast_release(&event);
    client->over = true;
    return NULL;
}

/* ------------------------------------------------------------------------------- what this server tells browsers -- */

static void on_state(void *unused, enum bcast_state state, int status, const char *why)
{
    static const char *const names[] = {"connecting", "connected", "lost", "closed"};
    json_t *frame = json_pack("{s:s, s:s, s:s}", "action", "state", "state", names[state], "why", why);
    (void)unused, (void)status;
    /* under the lock, so that who enters gets this one or finds it in chat.state */
    pthread_mutex_lock(&chat.lock);
    size_t size = frame != NULL ? json_dumpb(frame, chat.state, sizeof chat.state - 1, JSON_COMPACT) : 0;
    if (size >= sizeof chat.state)
        size = 0; /* too long */
    chat.state[size] = '\0';
    if (size != 0)
        bcast_publish(chat.notices, "state", chat.state, size);
    pthread_mutex_unlock(&chat.lock);
    json_decref(frame);
}

static void name_of_client(char *name, size_t size, uintptr_t number)
{
    snprintf(name, size, "client %" PRIuPTR, number);
}

/* Whoever wrote the message may have left by now. So it is not told to the client, but to the client's channel. */
static void on_result(void *number, int status)
{
    char channel[40], text[200];
    if (status == BCAST_OK)
        return;
    name_of_client(channel, sizeof channel, (uintptr_t)number);
    int size =
        snprintf(text, sizeof text, "{\"action\":\"error\",\"why\":\"A message of yours may not have arrived: %s.\"}",
                 bcast_status_text(status));
    bcast_publish(chat.notices, channel, text, (size_t)size);
}

/* ----------------------------------------------------------------------------------------- coming in and leaving -- */

static const char *room_of(const struct mg_connection *connection)
{
    char name[100];
    const char *query = mg_get_request_info(connection)->query_string;
    int size = query != NULL ? mg_get_var(query, strlen(query), "room", name, sizeof name) : -1;
    if (size == -1) /* it does not say */
        return chat.names[0];
    for (size_t i = 0; size >= 0 && i < chat.count; i++)
        if (strcmp(chat.names[i], name) == 0)
            return chat.names[i];
    return NULL;
}

static bool hear_notices(struct client *client)
{
    char name[40], state[sizeof chat.state];
    name_of_client(name, sizeof name, client->number);
    const char *channels[] = {"state", name};
    if (bcast_subscribe_many(chat.notices, channels, NULL, 2, NULL, &client->notices) != BCAST_OK)
        return false;
    pthread_mutex_lock(&chat.lock);
    memcpy(state, chat.state, sizeof state);
    pthread_mutex_unlock(&chat.lock);
    return state[0] == '\0' || send_text(client, state, strlen(state));
}

/* While the broker is away this waits for it, a while: subscribed means that nothing is missed from here on. */
static bool hear_room(struct client *client, const char *room)
{
    struct bcast_sub_options options = bcast_sub_options_init();
    options.limit_messages = BEHIND;
    options.limit_bytes = (size_t)BEHIND * 4096;
    options.history = chat.keeps;
    options.timeout_ms = 5000;
    if (bcast_channel(chat.rooms, room, 0, &client->room) != BCAST_OK ||
        bcast_subscribe(chat.rooms, room, &options, &client->messages) != BCAST_OK)
        return false;
    json_int_t keeps = (json_int_t)chat.keeps;
    return send_frame(client, json_pack("{s:s, s:s, s:I}", "action", "welcome", "room", room, "keeps", keeps));
}

static bool hear(struct client *client, const char *room)
{
    if (room == NULL) {
        send_error(client, "There is no such room here.");
        return false;
    }
    if (hear_notices(client) && hear_room(client, room) && bcast_fd(client->notices) >= 0 &&
        bcast_fd(client->messages) >= 0)
        return true;
    send_error(client, bcast_error_text());
    return false;
}

static bool one_more(void)
{
    pthread_mutex_lock(&chat.lock);
    bool welcome = chat.clients < chat.max_clients;
    chat.clients += welcome;
    pthread_mutex_unlock(&chat.lock);
    return welcome;
}

static void one_less(void)
{
    pthread_mutex_lock(&chat.lock);
    chat.clients--;
    pthread_cond_signal(&chat.left);
    pthread_mutex_unlock(&chat.lock);
}

static void enter(struct client *client)
{
    if (!one_more()) {
        send_error(client, "This server is full.");
        hang_up(client, TRY_LATER, "full");
        return;
    }
    client->number = atomic_fetch_add(&chat.numbers, 1);
    if (hear(client, room_of(client->connection)))
        client->sending = pthread_create(&client->sender, NULL, send_events, client) == 0;
    if (!client->sending) {
        hang_up(client, TRY_LATER, "not now");
        one_less();
    }
}

/* Wakes the sender and waits for it. */
static void stop_sending(struct client *client)
{
    if (!client->sending)
        return;
    bcast_cancel(client->messages);
    pthread_join(client->sender, NULL);
    client->sending = false;
    one_less();
}

static void forget(struct client *client)
{
    stop_sending(client);
    bcast_unsubscribe(client->messages);
    bcast_unsubscribe(client->notices);
    bcast_channel_free(client->room);
    free(client);
}

/* ----------------------------------------------------------------------------------------------- to the channel -- */

static void publish(struct client *client, json_t *message)
{
    struct bcast_message out = bcast_message_init();
    char *text = json_dumps(message, JSON_COMPACT);
    if (text == NULL) {
        send_error(client, "This was not sent: no memory.");
        return;
    }
    out.data = text;
    out.size = strlen(text);
    out.on_result = on_result;
    out.context = (void *)client->number;
    if (bcast_publish_message_to(client->room, &out) != BCAST_OK)
        send_error(client, bcast_error_text());
    free(text);
}

/* Published anew, not as it came: only the three members, and nothing between them. */
static void publish_what_came(struct client *client, const char *data, size_t size)
{
    json_error_t error;
    char why[sizeof error.text + 40];
    const char *user, *words;
    json_t *message = parse(data, size, &error);
    if (message == NULL) {
        snprintf(why, sizeof why, "That is no message: %s.", error.text);
        send_error(client, why);
        return;
    }
    json_unpack(message, "{s:s, s:s}", "user", &user, "message", &words);
    if (user[0] == '\0' || words[0] == '\0' || strlen(user) > 160) {
        send_error(client, "A message has a name, of at most 160 bytes, and is not empty.");
    } else {
        json_t *out = json_pack("{s:s, s:s, s:s}", "action", "message", "user", user, "message", words);
        publish(client, out);
        json_decref(out);
    }
    json_decref(message);
}

/* ----------------------------------------------------------------------------- what the web server calls us for -- */

/* A page of another site must not talk in its visitors' names. 1: no. */
static int on_connect(const struct mg_connection *connection, void *unused)
{
    const char *origin = mg_get_header(connection, "Origin"), *host = mg_get_header(connection, "Host");
    const char *site = origin != NULL ? strstr(origin, "://") : NULL;
    (void)unused;
    return origin != NULL && (site == NULL || host == NULL || strcmp(site + 3, host) != 0);
}

static void on_ready(struct mg_connection *connection, void *unused)
{
    struct client *client = calloc(1, sizeof *client);
    (void)unused;
    mg_set_user_connection_data(connection, client);
    if (client == NULL)
        return; /* and on_data hangs up */
    client->connection = connection;
    enter(client);
}

/* 1: go on; 0: hang up. */
static int on_data(struct mg_connection *connection, int bits, char *data, size_t size, void *unused)
{
    struct client *client = mg_get_user_connection_data(connection);
    int whole = bits & 0x80, kind = bits & 0x0f;
    (void)unused;
    if (client == NULL)
        return 0;
    if (kind == MG_WEBSOCKET_OPCODE_CONNECTION_CLOSE) {
        stop_sending(client);
        if (!client->said_goodbye)
            mg_websocket_write(connection, MG_WEBSOCKET_OPCODE_CONNECTION_CLOSE, data, size < 2 ? 0 : 2);
        return 0;
    }
    if (!client->sending || client->over)
        return 0;
    if (kind == MG_WEBSOCKET_OPCODE_TEXT && whole) {
        publish_what_came(client, data, size);
        return 1;
    }
    stop_sending(client); /* nothing may follow a farewell */
    if (!client->said_goodbye)
        hang_up(client, UNSUPPORTED, "text, in one piece");
    return 0;
}

static void on_close(const struct mg_connection *connection, void *unused)
{
    struct client *client = mg_get_user_connection_data(connection);
    (void)unused;
    mg_set_user_connection_data(connection, NULL);
    if (client != NULL)
        forget(client);
}

static int on_page(struct mg_connection *connection, void *path)
{
    mg_send_mime_file(connection, path, "text/html; charset=utf-8");
    return 200;
}

static int on_rooms(struct mg_connection *connection, void *unused)
{
    json_t *names = json_array();
    (void)unused;
    for (size_t i = 0; i < chat.count; i++)
        json_array_append_new(names, json_string(chat.names[i]));
    char *text = json_dumps(names, JSON_COMPACT);
    json_decref(names);
    if (text == NULL)
        return 0;
    mg_send_http_ok(connection, "application/json", (long long)strlen(text));
    mg_write(connection, text, strlen(text));
    free(text);
    return 200;
}

/* --------------------------------------------------------------------------------------------- begin and end -- */

static struct mg_context *serve(const char *port)
{
    char threads[20];
    snprintf(threads, sizeof threads, "%u", chat.max_clients + SPARE);
    /* each connection keeps a thread; pings find out who is gone */
    const char *options[] = {"listening_ports",
                             port,
                             "num_threads",
                             threads,
                             "websocket_timeout_ms",
                             "10000",
                             "enable_websocket_ping_pong",
                             "yes",
                             "tcp_nodelay",
                             "1",
                             "static_file_max_age",
                             "0",
                             NULL};
    struct mg_context *server = mg_start(&(struct mg_callbacks){0}, NULL, options);
    if (server == NULL)
        return NULL;
    mg_set_websocket_handler(server, "/chat$", on_connect, on_ready, on_data, on_close, NULL);
    mg_set_request_handler(server, "/rooms$", on_rooms, NULL);
    mg_set_request_handler(server, "/$", on_page, (void *)PAGE);
    return server;
}

/* Senders say goodbye. One that is stuck, as its browser does not read, need not: mg_stop interrupts it. */
static void say_goodbye(void)
{
    struct timespec until;
    int failed = 0;
    bcast_shutdown(chat.notices);
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += 2;
    pthread_mutex_lock(&chat.lock);
    while (chat.clients > 0 && failed == 0)
        failed = pthread_cond_timedwait(&chat.left, &chat.lock, &until);
    pthread_mutex_unlock(&chat.lock);
}

static int run(const char *port, const sigset_t *signals)
{
    struct mg_server_port listens;
    struct mg_context *server = serve(port);
    int which;
    if (server == NULL || mg_get_server_ports(server, 1, &listens) != 1) {
        fprintf(stderr, "cannot listen on port %s\n", port);
        if (server != NULL)
            mg_stop(server);
        return 1;
    }
    printf("http://localhost:%d/\n", listens.port);
    fflush(stdout);
    sigwait(signals, &which);
    say_goodbye();
    bcast_shutdown(chat.rooms); /* who still waits in a call on it, does not */
    mg_stop(server);            /* on_close for every client */
    return 0;
}

static int open_both(const char *url)
{
    struct bcast_options options = bcast_options_init();
    struct bcast_capabilities capabilities = bcast_capabilities_init();
    options.on_state = on_state;
    options.max_message_bytes = LARGEST;
    if (bcast_open("memory://", NULL, &chat.notices) != BCAST_OK ||
        bcast_open(url, &options, &chat.rooms) != BCAST_OK || bcast_capabilities(chat.rooms, &capabilities) != BCAST_OK)
        return -1;
    chat.keeps = capabilities.can & BCAST_CAN_HISTORY ? HISTORY : 0;
    return 0;
}

/* A connection needs three descriptors; many systems allow 1,024 unless asked for more. */
static void allow_descriptors(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

int main(int count, char **words)
{
    static char *names[] = {"chatroom", "kitchen", "garden"}; /* the first as in other programs of this protocol */
    const char *port = "8080", *url = "memory://?history=50";
    sigset_t signals;
    int option, status = 1;
    while ((option = getopt(count, words, "p:c:")) != -1) {
        if (option == 'p')
            port = optarg;
        else if (option != 'c' || (chat.max_clients = (unsigned)strtoul(optarg, NULL, 10)) - 1 >= 50000)
            return fprintf(stderr, "usage: %s [-p PORT] [-c CLIENTS] [URL [ROOM...]]\n", words[0]), 2;
    }
    if (optind < count)
        url = words[optind++];
    chat.names = optind < count ? words + optind : names;
    chat.count = optind < count ? (size_t)(count - optind) : sizeof names / sizeof names[0];
    sigemptyset(&signals);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGTERM);
    pthread_sigmask(SIG_BLOCK, &signals, NULL); /* before there are threads, which inherit it: only sigwait sees them */
    allow_descriptors();
    json_object_seed(0); /* as jansson asks of programs with threads */
    mg_init_library(0);
    if (open_both(url) == 0)
        status = run(port, &signals);
    else
        fprintf(stderr, "%s\n", bcast_error_text());
    mg_exit_library();
    bcast_close(chat.rooms);
    bcast_close(chat.notices); /* last: the other one's callbacks publish there */
    return status;
}
