/* One thread waits for messages and for something else: here, for lines on its standard input, which another thread of
 * a server would publish. Ends with its input.
 *     poll < FILE
 */
#include <broadcaster/broadcaster.h>

#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* The fd says "there is something"; only a time-out says that there is nothing more. */
static int print_messages(struct bcast_sub *sub, struct bcast_event *event)
{
    int status;
    while ((status = bcast_next(sub, event, BCAST_NOWAIT)) == BCAST_OK)
        if (event->kind == BCAST_MESSAGE)
            printf("message: %.*s\n", (int)event->size, (const char *)event->data);
        else
            printf("%llu messages missed\n", (unsigned long long)event->lost);
    return status == BCAST_TIMEOUT ? BCAST_OK : status;
}

/* What was typed is published, as far as it has come. Zero: that was the end. */
static ssize_t publish_input(struct bcast *b)
{
    char text[4096], *rest = text, *line;
    ssize_t size = read(STDIN_FILENO, text, sizeof text - 1);
    if (size <= 0)
        return size;
    text[size] = '\0';
    while ((line = strtok_r(rest, "\n", &rest)) != NULL)
        if (bcast_publish(b, "lines", line, strlen(line)) != BCAST_OK)
            return -1;
    return size;
}

static int loop(struct bcast *b, struct bcast_sub *sub, struct bcast_event *event)
{
    struct pollfd watched[] = {{bcast_fd(sub), POLLIN, 0}, {STDIN_FILENO, POLLIN, 0}};
    ssize_t size = 1;
    int status = BCAST_OK;
    while (size > 0 && status == BCAST_OK && poll(watched, 2, -1) >= 0) {
        if (watched[1].revents != 0)
            size = publish_input(b);
        if (watched[0].revents != 0)
            status = print_messages(sub, event);
    }
    return status == BCAST_OK ? print_messages(sub, event) : status;
}

int main(void)
{
    struct bcast_event event = BCAST_EVENT_INIT;
    struct bcast *b;
    struct bcast_sub *sub;
    setvbuf(stdout, NULL, _IOLBF, 0); /* a line is shown when it is there, also in a pipe */
    if (bcast_open("memory://", NULL, &b) != BCAST_OK || bcast_subscribe(b, "lines", NULL, &sub) != BCAST_OK) {
        fprintf(stderr, "%s\n", bcast_error_text());
        return 1;
    }
    int status = loop(b, sub, &event);
    if (status != BCAST_OK)
        fprintf(stderr, "%s\n", bcast_error_text());
    bcast_release(&event);
    bcast_unsubscribe(sub);
    bcast_close(b);
    return status != BCAST_OK;
}
