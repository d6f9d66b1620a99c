/* Starts a broker by hand or for a script:
 *     broker KIND [ARGUMENT OF THE SERVER...] [-- COMMAND [WORD...]]
 * Without COMMAND it prints what there is to know, NAME=VALUE, and obeys the lines on stdin until that ends: kill,
 * start, stop, restart, pause, resume; each is answered with ok or failed. With COMMAND it runs that, with the same in
 * the environment, and ends with its status; the command may say
 *     echo kill > "$BROKER_CONTROL" && read -r answer < "$BROKER_ANSWER"
 */
#define _GNU_SOURCE
#include "broker.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static bool obey(struct broker *b, const char *word)
{
    static const struct {
        const char *word;
        int (*call)(struct broker *);
    } table[] = {{"kill", broker_kill},       {"start", broker_restart}, {"stop", broker_stop},
                 {"restart", broker_restart}, {"pause", broker_pause},   {"resume", broker_resume}};
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++)
        if (strcmp(table[i].word, word) == 0)
            return table[i].call(b) == 0;
    fprintf(stderr, "broker: what is '%s'?\n", word);
    return false;
}

static void obey_line(struct broker *b, char *line, FILE *answer)
{
    line[strcspn(line, "\n")] = '\0';
    fprintf(answer, "%s\n", obey(b, line) ? "ok" : "failed");
    fflush(answer);
}

static int by_hand(struct broker *b)
{
    char line[100];
    for (char *const *value = broker_values(b); *value != NULL; value++)
        printf("%s\n", *value);
    fflush(stdout);
    while (fgets(line, sizeof line, stdin) != NULL)
        obey_line(b, line, stdout);
    return 0;
}

static pid_t run(struct broker *b, char **words)
{
    for (char *const *value = broker_values(b); *value != NULL; value++)
        putenv(*value);
    setenv("BROKER_CONTROL", broker_file(b, "control"), 1);
    setenv("BROKER_ANSWER", broker_file(b, "answer"), 1);
    pid_t pid = fork();
    if (pid == 0) {
        execvp(words[0], words);
        perror(words[0]);
        _exit(127);
    }
    return pid;
}

/* Fifos that are open at both ends here never end, nor does opening them wait for the other side. */
static FILE *fifo(const char *path)
{
    int fd = mkfifo(path, 0600) == 0 ? open(path, O_RDWR | O_CLOEXEC) : -1;
    return fd >= 0 ? fdopen(fd, "r+e") : NULL;
}

static int serve(struct broker *b, char **words)
{
    char line[100];
    int status = 0;
    FILE *control = fifo(broker_file(b, "control")), *answer = fifo(broker_file(b, "answer"));
    if (control == NULL || answer == NULL)
        return perror("broker: fifo"), 1;
    setvbuf(control, NULL, _IONBF, 0); /* so that poll knows of every line */
    pid_t pid = run(b, words);
    struct pollfd fds[] = {{(int)syscall(SYS_pidfd_open, pid, 0), POLLIN, 0}, {fileno(control), POLLIN, 0}};
    while (fds[0].revents == 0) {
        if (poll(fds, 2, -1) < 0 && errno != EINTR)
            break;
        if (fds[1].revents != 0 && fgets(line, sizeof line, control) != NULL)
            obey_line(b, line, answer);
    }
    waitpid(pid, &status, 0);
    close(fds[0].fd);
    fclose(control);
    fclose(answer);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static int usage(void)
{
    fprintf(stderr, "usage: broker KIND [ARGUMENT OF THE SERVER...] [-- COMMAND [WORD...]]\nkinds:");
    for (const char *const *kind = broker_kinds(); *kind != NULL; kind++)
        fprintf(stderr, " %s", *kind);
    fprintf(stderr, "\n");
    return 2;
}

int main(int count, char **words)
{
    struct broker *b;
    if (count < 2 || words[1][0] == '-')
        return usage();
    char **command = words + 2;
    while (*command != NULL && strcmp(*command, "--") != 0)
        command++;
    bool with_command = *command != NULL && command[1] != NULL;
    *command = NULL;
    if (broker_start_with(words[1], (const char *const *)words + 2, &b) != 0)
        return 1;
    int status = with_command ? serve(b, command + 1) : by_hand(b);
    broker_end(b);
    return status;
}
