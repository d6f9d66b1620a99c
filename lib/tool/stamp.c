#define _DEFAULT_SOURCE /* timegm */
#include "stamp.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#define MILLION 1000000
#define LATEST INT64_C(253402300799) /* the last second of the year 9999 */

void stamp_write(char text[STAMP_BYTES], int64_t us)
{
    int64_t fraction = us % MILLION;
    time_t seconds = (time_t)(us / MILLION - (fraction < 0));
    struct tm tm;
    char date[32] = "";
    if (gmtime_r(&seconds, &tm) != NULL)
        strftime(date, sizeof date, "%Y-%m-%dT%H:%M:%S", &tm);
    snprintf(text, STAMP_BYTES, "%s.%06dZ", date, (int)(fraction < 0 ? fraction + MILLION : fraction));
}

/* So many digits, moving on; negative: there are fewer. */
static int digits(const char **at, int count)
{
    int number = 0;
    for (; count > 0; count--, ++*at) {
        if (**at < '0' || **at > '9')
            return -1;
        number = number * 10 + (**at - '0');
    }
    return number;
}

static bool skip(const char **at, const char *one_of)
{
    bool there = **at != '\0' && strchr(one_of, **at) != NULL;
    *at += there;
    return there;
}

/* ".25" in microseconds; what is finer is cut off. */
static bool read_fraction(const char **at, int64_t *us)
{
    *us = 0;
    if (!skip(at, "."))
        return true;
    if (**at < '0' || **at > '9')
        return false;
    for (int worth = MILLION / 10; **at >= '0' && **at <= '9'; worth /= 10)
        *us += worth * (*(*at)++ - '0');
    return true;
}

static bool read_seconds(const char *at, int64_t *us)
{
    int64_t seconds = 0;
    for (; *at >= '0' && *at <= '9'; at++)
        if ((seconds = seconds * 10 + (*at - '0')) > LATEST)
            return false;
    bool good = read_fraction(&at, us) && *at == '\0';
    *us += seconds * MILLION;
    return good;
}

static bool read_clock(const char **at, struct tm *tm, int64_t *fraction)
{
    tm->tm_hour = digits(at, 2);
    if (!skip(at, ":"))
        return false;
    tm->tm_min = digits(at, 2);
    if (!skip(at, ":"))
        return false;
    tm->tm_sec = digits(at, 2);
    return tm->tm_hour >= 0 && tm->tm_min >= 0 && tm->tm_sec >= 0 && read_fraction(at, fraction) && skip(at, "Zz");
}

static bool read_date(const char *at, int64_t *us)
{
    struct tm tm = {0}, same;
    int64_t fraction = 0;
    int year = digits(&at, 4), month = skip(&at, "-") ? digits(&at, 2) : -1, day = skip(&at, "-") ? digits(&at, 2) : -1;
    tm.tm_year = year - 1900;
    tm.tm_mon = month - 1;
    tm.tm_mday = day;
    if (year < 0 || month < 1 || day < 1)
        return false;
    if (skip(&at, "Tt ") && !read_clock(&at, &tm, &fraction))
        return false;
    same = tm;
    time_t seconds = timegm(&tm);
    *us = (int64_t)seconds * MILLION + fraction;
    /* a 31st of April has become the 1st of May */
    return *at == '\0' && *us >= 0 && tm.tm_mon == same.tm_mon && tm.tm_hour == same.tm_hour &&
           tm.tm_min == same.tm_min && tm.tm_sec == same.tm_sec;
}

bool stamp_read(const char *text, int64_t *us)
{
    if (text[0] < '0' || text[0] > '9')
        return false;
    return strchr(text, '-') != NULL ? read_date(text, us) : read_seconds(text, us);
}
