/* The load generator of the gateway sweeps: many connections in one thread, driven by epoll.
 *
 * Build: gcc -O2 -o loadgen loadgen.c
 * Run:   loadgen PORT streams=1 total=1 chunks=0 end=TEXT ramp=0 timeout=60 < REQUEST
 *
 * Stdin holds the bytes of one request. Each of `streams` connections sends it, again after each response, until there
 * are `total` responses. With `ramp` the connections begin one after the other, spread over so many milliseconds.
 *
 * A response is correct if its status is 200, its framing is complete, it holds `chunks` stamps ("t=" and 19 digits:
 * the time at which the upstream sent it, CLOCK_MONOTONIC in nanoseconds), and it has the text `end` near its end.
 *
 * The result is a line of JSON. `p50_ms` and `p99_ms` are the delays of the stamps sent after all connections had
 * begun, and are there only with `ramp`. `failure` describes the first failure, "" if there was none.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { MAX_HEAD = 65536, MAX_TAIL = 512, STAMP_DIGITS = 19, MAX_EVENTS = 256, READ_SIZE = 262144 };

/* What is expected next in a response. */
enum phase { IN_HEAD, IN_SIZE, IN_CHUNK, AFTER_CHUNK, IN_TRAILERS, IN_LENGTH, UNTIL_CLOSE };

struct connection {
    int fd;
    int is_sent;
    int is_reused;
    enum phase phase;
    char head[MAX_HEAD + 1]; /* the head, then each chunk's size line */
    size_t head_size;
    int line_size; /* bytes in the current line of the trailers */
    long left;     /* bytes left of the chunk, or of the body */
    int status;
    long stamps;
    int digits; /* digits read of an unfinished stamp, -1 outside of one */
    uint64_t stamp;
    char tail[MAX_TAIL]; /* the last bytes of the body */
    size_t tail_size;
    uint64_t start; /* when to begin */
};

static int port, streams = 1, total = 1, timeout_s = 60;
static long chunks, ramp_ms;
static const char *end_text = "";
static char request[1 << 20];
static size_t request_size;
static int epoll_fd;
static int begun, finished, correct;
static long stamps;
static uint64_t steady_from; /* stamps from then on count as delays */
static uint32_t *delays;     /* in units of 100 ns */
static size_t delay_count, delay_capacity;
static char failure[600];

static uint64_t now(clockid_t clock) {
    struct timespec time;
    clock_gettime(clock, &time);
    return time.tv_sec * 1000000000ull + time.tv_nsec;
}

static void fail(const char *what, const char *detail, size_t size) {
    if (!failure[0])
        snprintf(failure, sizeof failure, "%s%.*s", what, (int)(size > 400 ? 400 : size), detail);
}

static void open_connection(struct connection *c) {
    int one = 1;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLET | EPOLLRDHUP, .data.ptr = c};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    c->is_reused = 0;
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    connect(c->fd, (struct sockaddr *)&address, sizeof address);
    epoll_ctl(epoll_fd, EPOLL_CTL_ADD, c->fd, &event);
}

static void close_connection(struct connection *c) {
    if (c->fd >= 0)
        close(c->fd);
    c->fd = -1;
}

static void send_request(struct connection *c) {
    if (c->is_sent)
        return;
    ssize_t size = send(c->fd, request, request_size, MSG_NOSIGNAL);
    if (size == (ssize_t)request_size)
        c->is_sent = 1;
    else if (size >= 0)
        fail("a request was sent in part", "", 0);
}

static void expect_response(struct connection *c) {
    c->phase = IN_HEAD;
    c->head_size = c->tail_size = 0;
    c->line_size = 0;
    c->status = 0;
    c->stamps = 0;
    c->digits = -1;
    c->is_sent = 0;
}

static void begin(struct connection *c) {
    if (begun >= total) {
        close_connection(c);
        return;
    }
    begun++;
    expect_response(c);
    if (c->fd < 0) {
        open_connection(c);
    } else {
        c->is_reused = 1;
        send_request(c);
    }
}

static void finish(struct connection *c, int is_complete) {
    char counts[100];
    finished++;
    if (c->status != 200) {
        fail("", c->head, strlen(c->head));
        fail("status other than 200: ", c->tail, c->tail_size);
    } else if (!is_complete) {
        fail("the gateway closed a connection inside a response", "", 0);
    } else if (c->stamps != chunks) {
        snprintf(counts, sizeof counts, "%ld of %ld chunks arrived: ", c->stamps, chunks);
        fail(counts, c->tail, c->tail_size);
    } else if (end_text[0] && !memmem(c->tail, c->tail_size, end_text, strlen(end_text))) {
        fail("a response has no end: ", c->tail, c->tail_size);
    } else {
        correct++;
    }
    if (!is_complete || c->phase == UNTIL_CLOSE)
        close_connection(c);
    begin(c);
}

static void add_stamp(struct connection *c, uint64_t arrived) {
    c->stamps++;
    stamps++;
    if (!ramp_ms || c->stamp < steady_from || c->stamp > arrived)
        return;
    if (delay_count == delay_capacity) {
        delay_capacity = delay_capacity ? delay_capacity * 2 : 65536;
        delays = realloc(delays, delay_capacity * sizeof *delays);
    }
    delays[delay_count++] = (arrived - c->stamp) / 100;
}

/* Count the stamps of a piece of the body. JSON has no other "=" than theirs, and memchr is fast. */
static void scan(struct connection *c, const char *data, size_t size, uint64_t arrived) {
    const char *end = data + size;
    size_t kept = size < MAX_TAIL ? size : MAX_TAIL;
    size_t before = c->tail_size + kept > MAX_TAIL ? MAX_TAIL - kept : c->tail_size;
    memmove(c->tail, c->tail + c->tail_size - before, before);
    memcpy(c->tail + before, end - kept, kept);
    c->tail_size = before + kept;
    while (data < end) {
        if (c->digits < 0) {
            data = memchr(data, '=', end - data);
            if (!data)
                return;
            data++;
            c->digits = 0;
            c->stamp = 0;
        }
        while (data < end && c->digits >= 0) {
            if (*data < '0' || *data > '9') {
                c->digits = -1;
                break;
            }
            c->stamp = c->stamp * 10 + (*data++ - '0');
            if (++c->digits == STAMP_DIGITS) {
                c->digits = -1;
                add_stamp(c, arrived);
            }
        }
    }
}

/* Read the head's end, status and framing; return the number of bytes of `data` that belong to it. */
static size_t read_head(struct connection *c, const char *data, size_t size) {
    size_t before = c->head_size, room = MAX_HEAD - before;
    size_t taken = size < room ? size : room;
    memcpy(c->head + before, data, taken);
    c->head_size += taken;
    c->head[c->head_size] = 0;
    char *end = strstr(c->head, "\r\n\r\n");
    if (!end)
        return taken;
    *end = 0;
    c->status = c->head_size > 12 ? atoi(c->head + 9) : 0;
    char *length = strcasestr(c->head, "\r\ncontent-length:");
    if (strcasestr(c->head, "\r\ntransfer-encoding: chunked")) {
        c->phase = IN_SIZE;
    } else if (length) {
        c->phase = IN_LENGTH;
        c->left = atol(length + 17);
    } else {
        c->phase = UNTIL_CLOSE;
    }
    size_t head_size = end + 4 - c->head;
    if (c->status == 200)
        c->head_size = 0;
    return head_size - before;
}

/* Read what arrived; return whether the response is complete. */
static int feed(struct connection *c, const char *data, size_t size, uint64_t arrived) {
    while (size) {
        size_t taken = 1;
        switch (c->phase) {
        case IN_HEAD:
            taken = read_head(c, data, size);
            if (c->phase == IN_LENGTH && c->left == 0)
                return 1;
            break;
        case IN_SIZE:
            if (*data == '\n') {
                c->head[c->head_size] = 0;
                c->left = strtol(c->head, 0, 16);
                c->head_size = 0;
                c->phase = c->left ? IN_CHUNK : IN_TRAILERS;
            } else if (c->head_size < 64) {
                c->head[c->head_size++] = *data;
            }
            break;
        case IN_CHUNK:
        case IN_LENGTH:
            taken = size < (size_t)c->left ? size : (size_t)c->left;
            scan(c, data, taken, arrived);
            c->left -= taken;
            if (c->left == 0 && c->phase == IN_LENGTH)
                return 1;
            if (c->left == 0)
                c->phase = AFTER_CHUNK;
            break;
        case AFTER_CHUNK:
            if (*data == '\n')
                c->phase = IN_SIZE;
            break;
        case IN_TRAILERS:
            if (*data == '\n') {
                if (c->line_size == 0)
                    return 1;
                c->line_size = 0;
            } else if (*data != '\r') {
                c->line_size++;
            }
            break;
        case UNTIL_CLOSE:
            taken = size;
            scan(c, data, size, arrived);
            break;
        }
        data += taken;
        size -= taken;
    }
    return 0;
}

/* Read until nothing more has arrived; return when the last bytes did, 0 if there were none. */
static uint64_t read_all(struct connection *c) {
    static char buffer[READ_SIZE];
    uint64_t last = 0;
    while (c->fd >= 0) {
        ssize_t size = recv(c->fd, buffer, sizeof buffer, 0);
        if (size > 0) {
            last = now(CLOCK_MONOTONIC);
            if (feed(c, buffer, size, last))
                finish(c, 1);
            continue;
        }
        if (size < 0 && (errno == EAGAIN || errno == ENOTCONN))
            return last;
        if (c->is_reused && c->phase == IN_HEAD && c->head_size == 0) { /* closed while idle: send it again */
            close_connection(c);
            expect_response(c);
            open_connection(c);
        } else {
            finish(c, c->phase == UNTIL_CLOSE);
        }
    }
    return last;
}

static int compare(const void *left, const void *right) {
    uint32_t a = *(const uint32_t *)left, b = *(const uint32_t *)right;
    return a < b ? -1 : a > b;
}

static void read_options(int count, char **arguments) {
    for (int i = 0; i < count; i++) {
        char *value = strchr(arguments[i], '=');
        if (!value)
            continue;
        *value++ = 0;
        if (!strcmp(arguments[i], "streams"))
            streams = atoi(value);
        else if (!strcmp(arguments[i], "total"))
            total = atoi(value);
        else if (!strcmp(arguments[i], "chunks"))
            chunks = atol(value);
        else if (!strcmp(arguments[i], "ramp"))
            ramp_ms = atol(value);
        else if (!strcmp(arguments[i], "timeout"))
            timeout_s = atoi(value);
        else if (!strcmp(arguments[i], "end"))
            end_text = value;
    }
    if (streams > total)
        streams = total;
}

static void print_result(double wall_s) {
    printf("{\"correct\":%d,\"wall_s\":%.6f,\"cpu_s\":%.6f,\"chunks\":%ld,", correct, wall_s,
           now(CLOCK_PROCESS_CPUTIME_ID) / 1e9, stamps);
    if (delay_count) {
        qsort(delays, delay_count, sizeof *delays, compare);
        printf("\"p50_ms\":%.4f,\"p99_ms\":%.4f,", delays[delay_count / 2] / 1e4, delays[delay_count * 99 / 100] / 1e4);
    }
    for (unsigned char *c = (unsigned char *)failure; *c; c++)
        if (*c == '"' || *c == '\\' || *c < 32 || *c > 126)
            *c = ' ';
    printf("\"failure\":\"%s\"}\n", failure);
}

int main(int count, char **arguments) {
    struct epoll_event events[MAX_EVENTS];
    int opened = 0;
    signal(SIGPIPE, SIG_IGN);
    if (count < 2)
        return 2;
    port = atoi(arguments[1]);
    read_options(count - 2, arguments + 2);
    request_size = fread(request, 1, sizeof request, stdin);
    epoll_fd = epoll_create1(0);
    struct connection *connections = calloc(streams, sizeof *connections);
    uint64_t started = now(CLOCK_MONOTONIC), last = started, deadline = started + timeout_s * 1000000000ull;
    steady_from = started + ramp_ms * 1000000ull + 300000000ull;
    for (int i = 0; i < streams; i++) {
        connections[i].fd = -1;
        connections[i].start = started + (uint64_t)(ramp_ms * 1e6 * i / streams);
    }
    while (finished < total) {
        uint64_t time = now(CLOCK_MONOTONIC);
        if (time > deadline) {
            char counts[100];
            snprintf(counts, sizeof counts, "%d of %d responses within %d s", finished, total, timeout_s);
            fail(counts, "", 0);
            break;
        }
        while (opened < streams && connections[opened].start <= time)
            begin(&connections[opened++]);
        int ready = epoll_wait(epoll_fd, events, MAX_EVENTS, opened < streams ? 1 : 100);
        for (int i = 0; i < ready; i++) {
            struct connection *c = events[i].data.ptr;
            if (c->fd < 0)
                continue;
            if (events[i].events & EPOLLOUT)
                send_request(c);
            uint64_t arrived = read_all(c);
            if (arrived)
                last = arrived;
        }
    }
    print_result((last - started) / 1e9);
    return 0;
}
