/* The upstream of the gateway sweeps and of the batches: OpenAI's chat completions from bytes rendered in advance, in one thread.
 *
 * Build: gcc -O2 -o upstream upstream.c
 * Run:   upstream                       (prints the free port of 127.0.0.1 on which it listens)
 *
 * The prompt says what to send, because every gateway passes it on: "N=<chunks>;I=<microseconds between two, 0 for a
 * burst>;D=<microseconds until it begins>;". Without `"stream":true` the reply is a short JSON document. With D, it comes when the
 * stream would have ended. Each chunk is an event and an HTTP chunk of its
 * own, with the text "t=" and 19 digits: CLOCK_MONOTONIC in nanoseconds, so that the load generator knows its delay.
 * Chunks become due on a schedule, whether or not the peer reads, and are sent at most every 0.5 ms.
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

enum { MAX_CONNECTIONS = 8192, MAX_EVENTS = 512, BURST_BUFFER = 65536, TICK = 500000, STAMP_DIGITS = 19 };

struct connection {
    int fd;
    int is_streaming;
    int wants_to_write;
    int is_delayed;    /* the reply begins when it is due */
    int is_document;
    int has_usage;
    long left;         /* chunks to send */
    uint64_t interval; /* nanoseconds between two chunks, 0 for a burst */
    uint64_t due;      /* when the next one is sent */
    char *received;
    size_t received_size, received_capacity;
    char *output;
    size_t output_start, output_size, output_capacity;
};

#define FIELDS \
    "\"id\":\"chatcmpl-CfA1b2C3d4E5f6G7h8I9j0K1l2M3n\",\"object\":\"chat.completion.chunk\",\"created\":1760000000," \
    "\"model\":\"gpt-4o-mini-2024-07-18\",\"service_tier\":\"default\",\"system_fingerprint\":\"fp_560af6e559\""
#define EVENT(delta, finish) \
    "data: {" FIELDS ",\"choices\":[{\"index\":0,\"delta\":" delta ",\"logprobs\":null," \
    "\"finish_reason\":" finish "}]}\n\n"

#define USAGE \
    "data: {" FIELDS ",\"choices\":[],\"usage\":{\"prompt_tokens\":24,\"completion_tokens\":48,\"total_tokens\":72}}\n\n"

static const char DOCUMENT[] =
    "{\"id\":\"chatcmpl-CfA1b2C3d4E5f6G7h8I9j0K1l2M3n\",\"object\":\"chat.completion\",\"created\":1760000000,"
    "\"model\":\"gpt-4o-mini-2024-07-18\",\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":"
    "\"The quick brown fox jumps over the lazy dog while the five boxing wizards jump quickly; pack my box with five "
    "dozen liquor jugs. How vexingly quick daft zebras jump, and sphinx of black quartz, judge my vow.\","
    "\"refusal\":null,\"annotations\":[]},\"logprobs\":null,\"finish_reason\":\"stop\"}],"
    "\"usage\":{\"prompt_tokens\":24,\"completion_tokens\":48,\"total_tokens\":72,"
    "\"prompt_tokens_details\":{\"cached_tokens\":0,\"audio_tokens\":0},"
    "\"completion_tokens_details\":{\"reasoning_tokens\":0,\"audio_tokens\":0,\"accepted_prediction_tokens\":0,"
    "\"rejected_prediction_tokens\":0}},\"service_tier\":\"default\",\"system_fingerprint\":\"fp_560af6e559\"}";
static const char MODELS[] =
    "{\"object\":\"list\",\"data\":[{\"id\":\"gpt-4o-mini\",\"object\":\"model\",\"created\":1760000000,"
    "\"owned_by\":\"bench\"}]}";
static const char STREAM_HEAD[] =
    "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\nCache-Control: no-cache\r\n"
    "Transfer-Encoding: chunked\r\nx-request-id: req_bench\r\n\r\n";

static char opening[1024], chunk[1024], closing[2048], usage_closing[2048];
static size_t opening_size, chunk_size, closing_size, usage_closing_size, stamp_offset;
static struct connection *connections[MAX_CONNECTIONS]; /* by file descriptor */
static int active[MAX_CONNECTIONS], active_count;       /* the file descriptors of those that stream */
static uint64_t last_tick;
static int epoll_fd;

static uint64_t now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1000000000ull + time.tv_nsec;
}

static size_t frame(char *target, const char *event) {
    return sprintf(target, "%zx\r\n%s\r\n", strlen(event), event);
}

static size_t put_end(char *target, size_t size) {
    size += frame(target + size, "data: [DONE]\n\n");
    return size + sprintf(target + size, "0\r\n\r\n");
}

static void put(struct connection *c, const char *data, size_t size) {
    if (c->output_size + size > c->output_capacity) {
        if (c->output_start) {
            memmove(c->output, c->output + c->output_start, c->output_size - c->output_start);
            c->output_size -= c->output_start;
            c->output_start = 0;
        }
        while (c->output_size + size > c->output_capacity)
            c->output_capacity = c->output_capacity ? c->output_capacity * 2 : 16384;
        c->output = realloc(c->output, c->output_capacity);
    }
    memcpy(c->output + c->output_size, data, size);
    c->output_size += size;
}

static void put_document(struct connection *c, const char *body) {
    char head[256];
    int size = sprintf(head,
                       "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nx-request-id: req_bench\r\n"
                       "Content-Length: %zu\r\n\r\n",
                       strlen(body));
    put(c, head, size);
    put(c, body, strlen(body));
}

static void watch(struct connection *c, int wants_to_write) {
    if (c->wants_to_write == wants_to_write)
        return;
    c->wants_to_write = wants_to_write;
    struct epoll_event event = {.events = EPOLLIN | EPOLLRDHUP | (wants_to_write ? EPOLLOUT : 0), .data.fd = c->fd};
    epoll_ctl(epoll_fd, EPOLL_CTL_MOD, c->fd, &event);
}

static void start_streaming(struct connection *c) {
    if (!c->is_streaming)
        active[active_count++] = c->fd;
    c->is_streaming = 1;
}

static void stop_streaming(struct connection *c) {
    if (!c->is_streaming)
        return;
    c->is_streaming = 0;
    for (int i = 0; i < active_count; i++) {
        if (active[i] == c->fd) {
            active[i] = active[--active_count];
            return;
        }
    }
}

static void drop(struct connection *c) {
    stop_streaming(c);
    connections[c->fd] = 0;
    close(c->fd);
    free(c->received);
    free(c->output);
    free(c);
}

/* Send what is buffered; return -1 if the connection is gone. */
static int flush(struct connection *c) {
    while (c->output_start < c->output_size) {
        ssize_t size = send(c->fd, c->output + c->output_start, c->output_size - c->output_start, MSG_NOSIGNAL);
        if (size < 0 && errno == EAGAIN) {
            watch(c, 1);
            return 0;
        }
        if (size < 0) {
            drop(c);
            return -1;
        }
        c->output_start += size;
    }
    c->output_start = c->output_size = 0;
    watch(c, 0);
    return 0;
}

static void put_chunk(struct connection *c, uint64_t time) {
    put(c, chunk, chunk_size);
    char *digits = c->output + c->output_size - chunk_size + stamp_offset;
    for (int i = STAMP_DIGITS - 1; i >= 0; i--) {
        digits[i] = '0' + time % 10;
        time /= 10;
    }
    c->left--;
}

static int step(struct connection *c, uint64_t time);

/* Begin a reply; return -1 if the connection is gone. */
static int begin(struct connection *c, uint64_t time) {
    c->is_delayed = 0;
    if (c->is_document) {
        stop_streaming(c);
        put_document(c, DOCUMENT);
        return flush(c);
    }
    put(c, STREAM_HEAD, sizeof STREAM_HEAD - 1);
    put(c, opening, opening_size);
    c->due = time + c->interval;
    start_streaming(c);
    return c->interval ? flush(c) : step(c, time);
}

/* Send what is due; return -1 if the connection is gone. */
static int step(struct connection *c, uint64_t time) {
    if (c->is_delayed)
        return begin(c, time);
    do {
        while (c->interval == 0 && c->left > 0 && c->output_size - c->output_start < BURST_BUFFER)
            put_chunk(c, time);
        while (c->interval && c->left > 0 && time >= c->due) {
            put_chunk(c, time);
            c->due += c->interval;
        }
        if (c->left == 0) {
            put(c, c->has_usage ? usage_closing : closing, c->has_usage ? usage_closing_size : closing_size);
            stop_streaming(c);
        }
        if (flush(c) < 0)
            return -1;
    } while (c->is_streaming && c->interval == 0 && c->output_size == 0);
    return 0;
}

static long order(const char *body, const char *name, long otherwise) {
    const char *place = strstr(body, name);
    return place ? atol(place + strlen(name)) : otherwise;
}

static int respond(struct connection *c, const char *head, const char *body) {
    if (strncmp(head, "POST ", 5)) {
        put_document(c, MODELS);
        return flush(c);
    }
    c->is_document = !strstr(body, "\"stream\":true") && !strstr(body, "\"stream\": true");
    c->left = order(body, "N=", 16);
    c->interval = order(body, "I=", 0) * 1000ull;
    uint64_t delay = order(body, "D=", 0) * 1000ull, time = now();
    c->has_usage = strstr(body, "\"include_usage\":true") != NULL;
    if (!delay)
        return begin(c, time);
    c->is_delayed = 1;
    c->due = time + delay + (c->is_document ? c->left * c->interval : 0);
    start_streaming(c);
    return 0;
}

/* Respond to the complete requests that were received; return -1 if the connection is gone. */
static int parse(struct connection *c) {
    while (!c->is_streaming && c->received_size) {
        c->received[c->received_size] = 0;
        char *end = strstr(c->received, "\r\n\r\n");
        if (!end)
            return 0;
        size_t head_size = end + 4 - c->received, size = head_size;
        *end = 0;
        char *length = strcasestr(c->received, "\r\ncontent-length:");
        int is_chunked = strcasestr(c->received, "\r\ntransfer-encoding: chunked") != 0;
        *end = '\r';
        if (length)
            size += strtoul(length + 17, 0, 10);
        if (is_chunked) {
            char *last = strstr(c->received + head_size, "0\r\n\r\n");
            if (!last)
                return 0;
            size = last + 5 - c->received;
        }
        if (c->received_size < size)
            return 0;
        char after = c->received[size];
        c->received[size] = 0;
        if (respond(c, c->received, c->received + head_size) < 0)
            return -1;
        c->received[size] = after;
        memmove(c->received, c->received + size, c->received_size - size);
        c->received_size -= size;
    }
    return 0;
}

/* Return -1 if the connection is gone. */
static int receive(struct connection *c) {
    for (;;) {
        if (c->received_size == c->received_capacity) {
            c->received_capacity *= 2;
            c->received = realloc(c->received, c->received_capacity + 1);
        }
        ssize_t size = recv(c->fd, c->received + c->received_size, c->received_capacity - c->received_size, 0);
        if (size > 0) {
            c->received_size += size;
            continue;
        }
        if (size < 0 && errno == EAGAIN)
            return parse(c);
        drop(c);
        return -1;
    }
}

static void accept_all(int listener) {
    int one = 1;
    for (;;) {
        int fd = accept4(listener, 0, 0, SOCK_NONBLOCK);
        if (fd < 0)
            return;
        if (fd >= MAX_CONNECTIONS) {
            close(fd);
            continue;
        }
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        struct connection *c = calloc(1, sizeof *c);
        struct epoll_event event = {.events = EPOLLIN | EPOLLRDHUP, .data.fd = fd};
        c->fd = fd;
        c->received_capacity = 65536;
        c->received = malloc(c->received_capacity + 1);
        connections[fd] = c;
        epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event);
    }
}

static void on_event(struct epoll_event *event) {
    struct connection *c = connections[event->data.fd];
    if (!c)
        return;
    if (event->events & (EPOLLIN | EPOLLHUP | EPOLLERR | EPOLLRDHUP) && receive(c) < 0)
        return;
    if (!(event->events & EPOLLOUT) || flush(c) < 0)
        return;
    if (c->is_streaming && !c->is_delayed && c->interval == 0 && c->output_size == 0 && step(c, now()) == 0)
        parse(c);
}

/* Send to all streams what is due. */
static void on_tick(uint64_t time) {
    last_tick = time;
    for (int i = 0; i < active_count;) {
        int fd = active[i];
        struct connection *c = connections[fd];
        int is_due = c->interval || c->is_delayed ? time >= c->due : c->output_size == 0;
        if (is_due && step(c, time) == 0 && !c->is_streaming)
            parse(c);
        if (i < active_count && active[i] == fd) /* else another one has taken its place */
            i++;
    }
}

/* Return how long to wait, or null to wait for an event. */
static struct timespec *pause_until_due(struct timespec *pause) {
    uint64_t time = now(), due = UINT64_MAX;
    for (int i = 0; i < active_count; i++) {
        struct connection *c = connections[active[i]];
        if ((c->interval || c->is_delayed) && c->due < due)
            due = c->due;
    }
    if (due == UINT64_MAX)
        return 0;
    if (due < last_tick + TICK)
        due = last_tick + TICK;
    uint64_t wait = due > time ? due - time : 0;
    pause->tv_sec = wait / 1000000000;
    pause->tv_nsec = wait % 1000000000;
    return pause;
}

int main(void) {
    struct sockaddr_in address = {.sin_family = AF_INET};
    socklen_t address_size = sizeof address;
    struct epoll_event events[MAX_EVENTS];
    signal(SIGPIPE, SIG_IGN);
    opening_size = frame(opening, EVENT("{\"role\":\"assistant\",\"content\":\"\",\"refusal\":null}", "null"));
    chunk_size = frame(chunk, EVENT("{\"content\":\"t=0000000000000000000\"}", "null"));
    stamp_offset = strstr(chunk, "t=0000") + 2 - chunk;
    closing_size = frame(closing, EVENT("{}", "\"stop\""));
    usage_closing_size = sprintf(usage_closing, "%s", closing);
    usage_closing_size += frame(usage_closing + usage_closing_size, USAGE);
    closing_size = put_end(closing, closing_size);
    usage_closing_size = put_end(usage_closing, usage_closing_size);
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 4096)) {
        perror("upstream");
        return 1;
    }
    getsockname(listener, (struct sockaddr *)&address, &address_size);
    printf("http://127.0.0.1:%d\n", ntohs(address.sin_port));
    fflush(stdout);
    epoll_fd = epoll_create1(0);
    struct epoll_event event = {.events = EPOLLIN, .data.fd = listener};
    epoll_ctl(epoll_fd, EPOLL_CTL_ADD, listener, &event);
    for (;;) {
        struct timespec pause;
        int count = epoll_pwait2(epoll_fd, events, MAX_EVENTS, pause_until_due(&pause), 0);
        for (int i = 0; i < count; i++) {
            if (events[i].data.fd == listener)
                accept_all(listener);
            else
                on_event(&events[i]);
        }
        uint64_t time = now();
        if (active_count && time >= last_tick + TICK)
            on_tick(time);
    }
}
