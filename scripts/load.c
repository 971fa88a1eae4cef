/* Load for scripts/bench: a uwsgi client that counts and times, and a node that answers at once.
 *
 *   load node ADDRESS BYTES [keep]                answer every request with BYTES bytes, on the client's own
 *                                                 connection if that comes with it (docs/protocol.md); never
 *                                                 with -1; leave the connection open
 *   load client ADDRESS CONNECTIONS SECONDS [KEYS [RATE [BODY]]]
 *       one request a connection, CONNECTIONS of them at any time; for KEYS keys in turn; RATE a second at most;
 *       with a body of BODY bytes
 *   load idle ADDRESS CONNECTIONS BYTES           open them, send BYTES bytes of a request, and wait
 *   load relay ADDRESS NODE                       a router with the fewest system calls that one could make
 *
 * ADDRESS is 127.0.0.1:PORT or the path of a UNIX socket. The client prints one line of JSON. In C because it
 * shares two cores with what it measures.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum { CHUNK = 1 << 20, MAX_SAMPLES = 4 << 20 };

static struct sockaddr_storage address;
static socklen_t address_size;
static char chunk[CHUNK];

static int new_socket(int flags) { return socket(address.ss_family, SOCK_STREAM | flags, 0); }

static void die(const char *what) {
    perror(what);
    exit(1);
}

static void parse_address(const char *text) {
    const char *colon = strrchr(text, ':');
    if (colon && *text != '/') {
        struct sockaddr_in *in = (struct sockaddr_in *)&address;
        char host[64] = {0};
        memcpy(host, text, (size_t)(colon - text));
        in->sin_family = AF_INET;
        in->sin_port = htons((uint16_t)atoi(colon + 1));
        inet_pton(AF_INET, host, &in->sin_addr);
        address_size = sizeof *in;
    } else {
        struct sockaddr_un *un = (struct sockaddr_un *)&address;
        un->sun_family = AF_UNIX;
        strncpy(un->sun_path, text, sizeof un->sun_path - 1);
        address_size = sizeof *un;
    }
}

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* ---- the node ---- */

static void send_all(int fd, const char *data, long size) {
    for (long sent = 0; sent < size;) {
        long n = send(fd, data + sent, (size_t)(size - sent), MSG_NOSIGNAL);
        if (n <= 0) return;
        sent += n;
    }
}

static long receive(int fd, char *where, size_t room, int *passed) { /* and the descriptor that comes along */
    char control[CMSG_SPACE(sizeof(int))];
    struct iovec into = {where, room};
    struct msghdr message = {
        .msg_iov = &into, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
    long n = recvmsg(fd, &message, 0);
    struct cmsghdr *found = n > 0 ? CMSG_FIRSTHDR(&message) : NULL;
    if (found && found->cmsg_type == SCM_RIGHTS) memcpy(passed, CMSG_DATA(found), sizeof *passed);
    return n;
}

static long body_size(long size) { /* of the request in chunk, as its CONTENT_LENGTH says */
    char digits[24] = {0}, *found = memmem(chunk, (size_t)size, "CONTENT_LENGTH", 14);
    if (!found || !found[14]) return 0;
    memcpy(digits, found + 16, found[14] < 20 ? (size_t)found[14] : 20);
    return atol(digits);
}

/* Whether the connection is good for another request. */
static int answer(int fd, const char *reply, long size, int keeps) {
    long got = 0, wanted = 4, body = 0;
    int passed = -1, is_whole = 0;
    while (got < wanted) { /* header, then as much as the header says, then the body */
        long n = receive(fd, is_whole ? chunk : chunk + got, is_whole ? CHUNK : CHUNK - (size_t)got, &passed);
        if (n <= 0) break;
        got += n;
        if (wanted == 4 && got >= 4) wanted = 4 + (unsigned char)chunk[1] + 256 * (unsigned char)chunk[2];
        if (!is_whole && wanted > 4 && got >= wanted) {
            is_whole = 1;
            wanted += body = body_size(wanted);
        }
    }
    if (passed < 0) {
        if (got == wanted) send_all(fd, reply, size);
        return keeps && got == wanted;
    }
    while (got < wanted) {
        long n = recv(passed, chunk, CHUNK, 0);
        if (n <= 0) break;
        got += n;
    }
    send_all(passed, reply, size);
    shutdown(passed, SHUT_WR);
    close(passed);
    send(fd, "\006200", 4, MSG_NOSIGNAL);
    return !body;
}

static int listen_there(void) {
    int listener = new_socket(SOCK_NONBLOCK), one = 1;
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (address.ss_family != AF_UNIX) setsockopt(listener, IPPROTO_TCP, TCP_DEFER_ACCEPT, &one, sizeof one);
    if (bind(listener, (struct sockaddr *)&address, address_size) || listen(listener, 4096)) die("bind");
    puts("ready");
    fflush(stdout);
    return listener;
}

static void add_to(int epoll, uint32_t events, int fd) {
    struct epoll_event event = {.events = events, .data.fd = fd};
    epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
}

_Noreturn static void node(long bytes, int keeps) {
    char *reply = malloc((size_t)(bytes < 0 ? 0 : bytes) + 200);
    int head = sprintf(reply, "HTTP/1.1 200 OK\r\nContent-Length: %ld\r\n\r\n", bytes);
    if (bytes > 0) memset(reply + head, 'x', (size_t)bytes);
    int listener = listen_there(), epoll = epoll_create1(0);
    struct epoll_event events[64];
    add_to(epoll, EPOLLIN, listener);
    for (;;) {
        int n = epoll_wait(epoll, events, 64, -1);
        for (int i = 0; i < n; i++) {
            int fd = events[i].data.fd, is_new = fd == listener;
            if (is_new) fd = accept(listener, NULL, NULL);
            if (fd < 0 || bytes < 0) continue;
            if (!answer(fd, reply, head + bytes, keeps)) close(fd);
            else if (is_new) add_to(epoll, EPOLLIN, fd);
        }
    }
}

/* ---- the relay ---- */

/* accept4, read, socket, connect, write, epoll_ctl, read, write, read, close, close: nothing is checked, counted
 * or chosen, and answers longer than a socket takes at once are cut. */
_Noreturn static void relay(const char *to) {
    static int clients[1 << 16];
    int listener = listen_there(), epoll = epoll_create1(0);
    struct epoll_event events[64];
    add_to(epoll, EPOLLIN, listener);
    parse_address(to);
    for (;;) {
        int n = epoll_wait(epoll, events, 64, -1);
        for (int i = 0; i < n; i++) {
            int fd = events[i].data.fd, client;
            for (int k = 0; fd == listener && k < 8; k++) {
                if ((client = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) < 0) break;
                long got = read(client, chunk, 1 << 16);
                int toward = new_socket(SOCK_NONBLOCK);
                connect(toward, (struct sockaddr *)&address, address_size);
                if (got <= 0 || write(toward, chunk, (size_t)got) < 0) close(client), close(toward);
                else clients[toward] = client, add_to(epoll, EPOLLIN | EPOLLRDHUP, toward);
            }
            if (fd == listener) continue;
            long got = read(fd, chunk, 1 << 16);
            if (got > 0 && write(clients[fd], chunk, (size_t)got) < 0) got = 0;
            if (got <= 0 || (events[i].events & EPOLLRDHUP && read(fd, chunk, 1 << 16) == 0))
                close(fd), close(clients[fd]);
        }
    }
}

/* ---- the client ---- */

struct connection {
    int fd;
    double started;
    long received;
    long unsent; /* of the body */
};

static char packet[4096];
static size_t packet_size;
static long body_bytes;
static long errors;

static void add(const char *name, const char *value) {
    const char *fields[] = {name, value};
    for (int i = 0; i < 2; i++) {
        size_t n = strlen(fields[i]);
        packet[packet_size++] = (char)n;
        packet[packet_size++] = (char)(n >> 8);
        memcpy(packet + packet_size, fields[i], n);
        packet_size += n;
    }
}

static long keys;          /* how many different ones to ask for; 0 for foo.com only */
static char *digits;       /* where the number of the key is in the packet */

static void next_key(void) { /* far from the one before, as visitors' are */
    static long number;
    char text[8];
    if (!keys) return;
    number = (number + 7919) % keys;
    snprintf(text, sizeof text, "%05ld", number);
    memcpy(digits, text, 5);
}

static void make_packet(void) { /* what nginx sends for a browser's GET */
    packet_size = 4;
    add("QUERY_STRING", "");
    char length[24] = "";
    if (body_bytes) sprintf(length, "%ld", body_bytes);
    add("REQUEST_METHOD", body_bytes ? "POST" : "GET");
    add("CONTENT_TYPE", "");
    add("CONTENT_LENGTH", length);
    add("REQUEST_URI", "/index.html");
    add("PATH_INFO", "/index.html");
    add("DOCUMENT_ROOT", "/usr/share/nginx/html");
    add("SERVER_PROTOCOL", "HTTP/1.1");
    add("REQUEST_SCHEME", "http");
    add("REMOTE_ADDR", "127.0.0.1");
    add("REMOTE_PORT", "50000");
    add("SERVER_PORT", "80");
    add("SERVER_NAME", "foo.com");
    add("HTTP_HOST", keys ? "k00000.com" : "foo.com");
    digits = packet + packet_size - strlen("00000.com");
    add("HTTP_USER_AGENT", "Mozilla/5.0 (X11; Linux x86_64) Gecko/20100101 Firefox/140.0");
    add("HTTP_ACCEPT", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8");
    add("HTTP_ACCEPT_ENCODING", "gzip, deflate, br");
    add("HTTP_COOKIE", "sessionid=4f1d2c3b4a5968778695a4b3c2d1e0f9");
    packet[1] = (char)(packet_size - 4);
    packet[2] = (char)((packet_size - 4) >> 8);
}

static void begin(struct connection *c, int epoll, uint32_t number) {
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLET, .data.u32 = number};
    c->fd = new_socket(SOCK_NONBLOCK);
    c->started = now();
    c->received = -1; /* the packet is not sent yet */
    if (connect(c->fd, (struct sockaddr *)&address, address_size) && errno != EINPROGRESS) {
        errors++;
        close(c->fd);
        c->fd = -1;
        usleep(500);
        return;
    }
    epoll_ctl(epoll, EPOLL_CTL_ADD, c->fd, &event);
}

static char body[CHUNK];
static double uploaded;

/* Whether the connection is over. */
static int go_on(struct connection *c, uint32_t events) {
    if (c->received < 0 && events & EPOLLOUT) {
        next_key();
        if (send(c->fd, packet, packet_size, MSG_NOSIGNAL) == (ssize_t)packet_size) c->received = 0;
        c->unsent = body_bytes;
    }
    while (c->received == 0 && c->unsent) {
        long n = send(c->fd, body, (size_t)(c->unsent < CHUNK ? c->unsent : CHUNK), MSG_NOSIGNAL);
        if (n <= 0) break;
        c->unsent -= n;
        uploaded += (double)n;
    }
    for (;;) {
        long n = recv(c->fd, chunk, sizeof chunk, 0);
        if (n > 0) c->received += n;
        else return n == 0 || errno != EAGAIN;
    }
}

static int compare(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static int client(uint32_t count, double seconds, double rate) {
    struct connection *all = calloc(count, sizeof *all);
    double *samples = malloc(sizeof(double) * MAX_SAMPLES), bytes = 0;
    struct epoll_event events[256];
    long done = 0;
    int epoll = epoll_create1(0);
    make_packet();
    double started = now(), end = started + seconds, due = started;
    for (uint32_t i = 0; i < count; i++) all[i].fd = -1;
    while (now() < end) {
        for (uint32_t i = 0; i < count && (!rate || due <= now()); i++)
            if (all[i].fd < 0) {
                begin(&all[i], epoll, i);
                if (rate) due += 1 / rate;
            }
        int n = epoll_wait(epoll, events, 256, rate ? 1 : 100);
        for (int i = 0; i < n; i++) {
            struct connection *c = &all[events[i].data.u32];
            if (c->fd < 0 || !go_on(c, events[i].events)) continue;
            if (c->received > 0) {
                if (done < MAX_SAMPLES) samples[done] = now() - c->started;
                bytes += (double)c->received;
                done++;
            } else errors++;
            close(c->fd);
            if (rate) c->fd = -1;
            else begin(c, epoll, events[i].data.u32);
        }
    }
    double elapsed = now() - started;
    for (uint32_t i = 0; i < count; i++) /* what is under way counts for throughput */
        if (all[i].received > 0) bytes += (double)all[i].received;
    long kept = done < MAX_SAMPLES ? done : MAX_SAMPLES;
    qsort(samples, (size_t)kept, sizeof *samples, compare);
    printf("{\"requests\": %ld, \"errors\": %ld, \"seconds\": %.3f, \"bytes\": %.0f, \"uploaded\": %.0f, \"p50\": %.6f, \"p99\": %.6f}\n",
           done, errors, elapsed, bytes, uploaded, kept ? samples[kept / 2] : 0, kept ? samples[kept * 99 / 100] : 0);
    return 0;
}

_Noreturn static void idle(int connections, size_t bytes) {
    make_packet();
    for (int i = 0; i < connections; i++) {
        int fd = new_socket(0);
        if (connect(fd, (struct sockaddr *)&address, address_size)) die("connect");
        if (send(fd, packet, bytes < packet_size ? bytes : packet_size, MSG_NOSIGNAL) < 0) die("send");
    }
    puts("ready");
    fflush(stdout);
    for (;;) pause();
}

int main(int count, char **words) {
    signal(SIGPIPE, SIG_IGN);
    if (count < 4) return fprintf(stderr, "usage: see the top of load.c\n"), 2;
    parse_address(words[2]);
    if (!strcmp(words[1], "node")) node(atol(words[3]), count > 4);
    if (!strcmp(words[1], "relay")) relay(words[3]);
    if (!strcmp(words[1], "idle")) idle(atoi(words[3]), (size_t)atol(words[4]));
    if (count > 5) keys = atol(words[5]);
    if (count > 7) body_bytes = atol(words[7]);
    return client((uint32_t)atoi(words[3]), count > 4 ? atof(words[4]) : 3, count > 6 ? atof(words[6]) : 0);
}
