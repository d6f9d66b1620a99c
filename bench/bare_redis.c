/* What one would write with hiredis alone: a connection for each subscriber thread, blocking reads, PUBLISH or XADD in
 * pipelines. For comparison with bench/fanout over the same server.
 *     bare_redis PORT MESSAGES SIZE SUBSCRIBERS [--stream COUNT]
 * One line of JSON: deliveries per second, CPU of the publishing thread per message, of the subscribers' per delivery. */
#define _GNU_SOURCE
#include <hiredis/hiredis.h>

#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define PIPELINE 256

static struct {
    int port;
    uint64_t messages;
    size_t size;
    unsigned subscribers;
    const char *count; /* NULL: PUB/SUB */
    pthread_barrier_t ready;
    _Atomic uint64_t cpu_ns, wrong;
} run;

static uint64_t now_ns(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static redisReply *read_reply(redisContext *connection)
{
    void *reply;
    if (redisGetReply(connection, &reply) == REDIS_OK)
        return reply;
    fprintf(stderr, "bare_redis: %s\n", connection->errstr);
    exit(1);
}

static redisContext *connect_to(int port)
{
    redisContext *connection = redisConnect("127.0.0.1", port);
    if (connection == NULL || connection->err != 0) {
        fprintf(stderr, "bare_redis: no server at port %d\n", port);
        exit(1);
    }
    return connection;
}

static uint64_t number_of(const redisReply *text)
{
    uint64_t number;
    memcpy(&number, text->str, sizeof number);
    return number;
}

static uint64_t read_messages(redisContext *connection)
{
    uint64_t sum = 0;
    for (uint64_t i = 0; i < run.messages; i++) {
        redisReply *reply = read_reply(connection);
        sum += number_of(reply->element[2]);
        freeReplyObject(reply);
    }
    return sum;
}

static uint64_t read_entries(redisContext *connection)
{
    char id[64] = "0";
    uint64_t sum = 0, seen = 0;
    while (seen < run.messages) {
        redisReply *reply = redisCommand(connection, "XREAD COUNT %s BLOCK 10000 STREAMS bare %s", run.count, id);
        if (reply == NULL || reply->type != REDIS_REPLY_ARRAY)
            exit(1);
        redisReply *entries = reply->element[0]->element[1];
        for (size_t i = 0; i < entries->elements; i++)
            sum += number_of(entries->element[i]->element[1]->element[1]);
        seen += entries->elements;
        snprintf(id, sizeof id, "%s", entries->element[entries->elements - 1]->element[0]->str);
        freeReplyObject(reply);
    }
    return sum;
}

static void *receive(void *argument)
{
    (void)argument;
    redisContext *connection = connect_to(run.port);
    if (run.count == NULL)
        freeReplyObject(redisCommand(connection, "SUBSCRIBE bare"));
    pthread_barrier_wait(&run.ready);
    uint64_t cpu = now_ns(CLOCK_THREAD_CPUTIME_ID);
    uint64_t sum = run.count == NULL ? read_messages(connection) : read_entries(connection);
    run.cpu_ns += now_ns(CLOCK_THREAD_CPUTIME_ID) - cpu;
    run.wrong += sum != run.messages * (run.messages - 1) / 2;
    redisFree(connection);
    return NULL;
}

static void publish(redisContext *connection)
{
    const char *command = run.count == NULL ? "PUBLISH bare %b" : "XADD bare * message %b";
    char *data = calloc(1, run.size);
    for (uint64_t i = 0; i < run.messages;) {
        int sent = 0;
        for (; sent < PIPELINE && i < run.messages; sent++, i++) {
            memcpy(data, &i, sizeof i);
            redisAppendCommand(connection, command, data, run.size);
        }
        while (sent-- != 0)
            freeReplyObject(read_reply(connection));
    }
    free(data);
}

int main(int count, char **words)
{
    if (count < 5 || (count > 5 && (count != 7 || strcmp(words[5], "--stream") != 0)))
        return 2;
    run.port = atoi(words[1]);
    run.messages = strtoull(words[2], NULL, 10);
    run.size = strtoull(words[3], NULL, 10);
    run.subscribers = (unsigned)atoi(words[4]);
    run.count = count == 7 ? words[6] : NULL;
    if (run.size < sizeof(uint64_t))
        return 2;
    redisContext *connection = connect_to(run.port);
    freeReplyObject(redisCommand(connection, "DEL bare"));
    pthread_t *threads = calloc(run.subscribers, sizeof *threads);
    pthread_barrier_init(&run.ready, NULL, run.subscribers + 1);
    for (unsigned i = 0; i < run.subscribers; i++)
        pthread_create(&threads[i], NULL, receive, NULL);
    pthread_barrier_wait(&run.ready);
    uint64_t begin = now_ns(CLOCK_MONOTONIC), cpu = now_ns(CLOCK_THREAD_CPUTIME_ID);
    publish(connection);
    uint64_t out = now_ns(CLOCK_THREAD_CPUTIME_ID) - cpu;
    for (unsigned i = 0; i < run.subscribers; i++)
        pthread_join(threads[i], NULL);
    double seconds = (double)(now_ns(CLOCK_MONOTONIC) - begin) / 1e9, messages = (double)run.messages;
    printf("{\"subscribers\": %u, \"deliveries_per_s\": %.0f, \"publish_per_s\": %.0f, \"cpu_ns_per_publish\": %.1f, "
           "\"cpu_ns_per_delivery\": %.1f}\n",
           run.subscribers, messages * run.subscribers / seconds, messages / seconds, (double)out / messages,
           (double)run.cpu_ns / messages / (run.subscribers != 0 ? run.subscribers : 1));
    freeReplyObject(redisCommand(connection, "DEL bare"));
    redisFree(connection);
    free(threads);
    return run.wrong != 0;
}
