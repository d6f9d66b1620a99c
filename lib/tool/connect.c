#include "connect.h"

#include <stdio.h>
#include <string.h>

#include "tool.h"

static void on_log(void *context, enum bcast_log_level level, const char *text)
{
    if (level <= BCAST_LOG_WARNING)
        fprintf(stderr, "%s: %s\n", (const char *)context, text);
}

/* A broadcast that ends at this process would be silent for ever. */
static int check_reach(const char *command, const char *url, struct bcast *b)
{
    struct bcast_capabilities capabilities = bcast_capabilities_init();
    if (bcast_capabilities(b, &capabilities) == BCAST_OK && (capabilities.can & BCAST_CAN_PROCESSES) != 0)
        return TOOL_GOOD;
    fprintf(stderr,
            "%s: %.*s:// stays within one process, and this command is a process of its own: nobody else is there to "
            "publish or to listen. Give the URL of a broker; 'broadcaster backends' lists what reaches other "
            "processes\n",
            command, (int)strcspn(url, ":"), url); /* only the scheme: there may be a password behind it */
    return TOOL_USAGE;
}

static int exit_code(int status)
{
    return status == BCAST_ERR_URL || status == BCAST_ERR_SCHEME || status == BCAST_ERR_INVALID ? TOOL_USAGE
                                                                                                : TOOL_FAILED;
}

int connect_open(const char *command, const char *url, struct bcast **out)
{
    struct bcast_options options = bcast_options_init();
    options.on_log = on_log;
    options.log_context = (void *)command;
    int status = bcast_open(url, &options, out);
    if (status != BCAST_OK) {
        fprintf(stderr, "%s: %s\n", command, bcast_error_text());
        return exit_code(status);
    }
    int code = check_reach(command, url, *out);
    if (code != TOOL_GOOD) {
        bcast_close(*out);
        *out = NULL;
    }
    return code;
}
