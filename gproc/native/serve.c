#include "serve.h"

#include "descriptors.h"
#include "net.h"
#include "path.h"

#define GUESTS_MAX 6u      /* the front end sends two at a time */
#define BACKLOG 128
#define SERVED_MAX 4096u   /* connections in all: one fan-out has at most 1,024 nodes */
#ifndef SERVING_S /* a test has another */
#define SERVING_S 900      /* without a guest, when all is there */
#endif
#define REQUEST_S 3        /* for a request */
#define SILENCE_S 5        /* for a guest to take something */
#define PIECE_BYTES (256u << 10)
#define FILES (GUESTS_MAX + 2) /* the guests', the listener, the news */

struct guest {
    int connection; /* below 0: none */
    size_t come;    /* of the request */
    int64_t until_s;
    uint64_t at;
    struct request request;
};

static struct guest guests[GUESTS_MAX];

/* The time that this takes says nothing of the token. */
static bool is_same(const uint8_t *one, const uint8_t *other, size_t size) {
    uint8_t difference = 0;
    for (size_t index = 0; index < size; index++) {
        difference |= (uint8_t)(one[index] ^ other[index]);
    }
    return difference == 0;
}

static bool is_good(const struct request *request, const struct archive *archive) {
    return memcmp(request->magic, REQUEST_FORMAT, sizeof request->magic) == 0 &&
           is_same(request->token, archive->token, TOKEN_BYTES) &&
           is_same(request->digest, archive->digest, SHA256_BYTES) && request->offset < archive->size;
}

static bool is_heard(const struct guest *guest) {
    return guest->come == sizeof guest->request;
}

/* Whether the guest stays. */
static bool hear(struct guest *guest, const struct archive *archive) {
    uint8_t *to = (uint8_t *)&guest->request + guest->come;
    long got = SYS3(read, guest->connection, to, sizeof guest->request - guest->come);
    if (got == -EAGAIN || got == -EINTR) {
        return true;
    }
    if (got <= 0) {
        return false;
    }
    guest->come += (size_t)got;
    guest->at = guest->request.offset;
    return !is_heard(guest) || is_good(&guest->request, archive);
}

/* Whether the guest has all that is there yet. */
static bool is_waiting(const struct guest *guest, const struct archive *archive) {
    return is_heard(guest) && guest->at >= archive->there;
}

static bool give(struct guest *guest, const struct archive *archive) {
    uint64_t left = archive->there - guest->at;
    int64_t offset = (int64_t)guest->at;
    long sent = SYS4(sendfile, guest->connection, archive->file, &offset, left < PIECE_BYTES ? left : PIECE_BYTES);
    if (sent == -EAGAIN || sent == -EINTR) {
        return true;
    }
    if (sent <= 0 || (uint64_t)sent > left) {
        return false;
    }
    guest->at += (uint64_t)sent;
    guest->until_s = seconds() + SILENCE_S;
    return guest->at < archive->size;
}

static void admit(int listener, struct guest *guest) {
    close_quietly(guest->connection);
    guest->connection = (int)SYS4(accept4, listener, NULL, NULL, O_CLOEXEC | O_NONBLOCK);
    guest->come = 0;
    guest->until_s = seconds() + REQUEST_S;
}

static void attend(struct guest *guest, short can, const struct archive *archive) {
    bool stays = seconds() < guest->until_s;
    if (is_waiting(guest, archive)) {
        stays = can == 0; /* else the connection is at its end */
        guest->until_s = seconds() + SILENCE_S;
    } else if (stays && can != 0) {
        stays = is_heard(guest) ? give(guest, archive) : hear(guest, archive);
    }
    if (!stays) {
        close_quietly(guest->connection);
        guest->connection = -1;
    }
}

/* The place of the next guest: if all are taken, that of one that has said nothing yet, which may be a stranger. */
static struct guest *place_for_one(void) {
    struct guest *place = NULL;
    for (uint32_t index = 0; index < GUESTS_MAX; index++) {
        struct guest *guest = &guests[index];
        if (guest->connection < 0) {
            return guest;
        }
        if (!is_heard(guest) && (place == NULL || guest->until_s < place->until_s)) {
            place = guest;
        }
    }
    return place;
}

/* Wait until something can be done.  Returns whether a new guest connects. */
static bool await(int listener, struct archive *archive, struct pollfd files[FILES]) {
    struct moment tick = {1, 0};
    for (uint32_t index = 0; index < GUESTS_MAX; index++) {
        const struct guest *guest = &guests[index];
        short what = !is_heard(guest) ? POLLIN : is_waiting(guest, archive) ? 0 : POLLOUT;
        files[index] = (struct pollfd){guest->connection, what, 0};
    }
    files[GUESTS_MAX] = (struct pollfd){place_for_one() == NULL ? -1 : listener, POLLIN, 0};
    files[GUESTS_MAX + 1] = (struct pollfd){archive->there < archive->size ? archive->news : -1, POLLIN, 0};
    long result = SYS5(ppoll, files, FILES, &tick, NULL, 0);
    return result > 0 && files[GUESTS_MAX].revents != 0;
}

static bool has_guests(void) {
    bool found = false;
    for (uint32_t index = 0; index < GUESTS_MAX; index++) {
        found = found || (guests[index].connection >= 0 && is_heard(&guests[index]));
    }
    return found;
}

static void hear_news(struct archive *archive) {
    uint64_t more;
    if (SYS3(read, archive->news, &more, sizeof more) == sizeof more) {
        uint64_t left = archive->size - archive->there;
        archive->there += more < left ? more : left;
    }
}

void serve(int listener, struct archive archive) {
    struct pollfd files[FILES];
    int64_t until_s = seconds() + SERVING_S;
    for (uint32_t index = 0; index < GUESTS_MAX; index++) {
        guests[index] = (struct guest){.connection = -1};
    }
    /* While something is to come, our parent may wait for its turn as long as it likes, and is with the front end. */
    for (uint32_t served = 0; served < SERVED_MAX && (archive.there < archive.size || seconds() < until_s);) {
        bool knocks = await(listener, &archive, files);
        for (uint32_t index = 0; index < GUESTS_MAX; index++) {
            if (guests[index].connection >= 0) {
                attend(&guests[index], files[index].revents, &archive);
            }
        }
        if (files[GUESTS_MAX + 1].revents != 0) {
            hear_news(&archive);
            until_s = seconds() + SERVING_S;
        }
        if (has_guests()) {
            until_s = seconds() + SERVING_S;
        }
        struct guest *place = place_for_one();
        if (knocks && place != NULL) {
            admit(listener, place);
            served++;
        }
    }
}

/* At every address of this machine, at a port that the kernel chooses. */
static int listen_anywhere(uint16_t *port) {
    union any_address own;
    uint32_t size = sizeof own;
    static const int families[2] = {FAMILY_INET6, FAMILY_INET};
    for (uint32_t index = 0; index < 2; index++) {
        int listener = stream_socket(families[index]);
        int no = 0;
        if (listener < 0) {
            continue;
        }
        memset(&own, 0, sizeof own);
        own.four.sin_family = (__kernel_sa_family_t)families[index];
        SYS5(setsockopt, listener, IPPROTO_IPV6, IPV6_V6ONLY, &no, sizeof no);
        long result = SYS3(bind, listener, &own, index == 0 ? sizeof own.six : sizeof own.four);
        result = result == 0 ? SYS2(listen, listener, BACKLOG) : result;
        if (result == 0 && SYS3(getsockname, listener, &own, &size) == 0) {
            *port = swapped(own.four.sin_port);
            return listener;
        }
        close_quietly(listener);
    }
    return -1;
}

/* In the child: nothing is open but archive, listener and news, so that it keeps no channel of ssh's from its end. */
static _Noreturn void become_server(int listener, struct archive archive, long parent) {
    uint64_t broken_pipe = SIGNAL_BIT(SIGPIPE);
    SYS2(prctl, PR_SET_PDEATHSIG, SIGKILL);
    SYS4(rt_sigprocmask, SIG_BLOCK, &broken_pipe, NULL, sizeof broken_pipe);
    SYS3(dup3, archive.file, 0, 0);
    SYS3(dup3, listener, 1, 0);
    SYS3(dup3, archive.news, 2, 0);
    close_from(3);
    archive.file = 0;
    archive.news = 2;
    if (SYS0(getppid) == parent) {
        serve(1, archive);
    }
    sys_exit(0);
}

/* Above the numbers that the child gives them. */
static int moved_up(int file) {
    int moved = (int)SYS3(fcntl, file, F_DUPFD_CLOEXEC, 3);
    close_quietly(file);
    return moved;
}

struct server serve_start(const struct archive *archive) {
    struct server server = {.news = -1};
    struct archive copy = *archive;
    uint16_t port = 0;
    int listener = listen_anywhere(&port);
    if (listener < 0) {
        return server;
    }
    listener = moved_up(listener);
    copy.file = (int)SYS3(fcntl, archive->file, F_DUPFD_CLOEXEC, 3);
    copy.news = moved_up((int)SYS2(eventfd2, 0, O_CLOEXEC | O_NONBLOCK));
    long own = SYS0(getpid);
    bool good = listener >= 0 && copy.file >= 0 && copy.news >= 0;
    long child = good ? SYS5(clone, SIGCHLD, 0, 0, 0, 0) : -EMFILE;
    if (child == 0) {
        become_server(listener, copy, own);
    }
    close_quietly(listener);
    close_quietly(copy.file);
    if (child < 0) {
        close_quietly(copy.news);
        return server;
    }
    return (struct server){.process = child, .news = copy.news, .port = port};
}

void serve_more(const struct server *server, uint64_t bytes) {
    if (server->port != 0) {
        SYS3(write, server->news, &bytes, sizeof bytes);
    }
}

uint16_t serve_port(struct server *server) {
    if (server->port != 0 && SYS4(wait4, server->process, NULL, WNOHANG, NULL) == server->process) {
        close_quietly(server->news);
        *server = (struct server){.news = -1};
    }
    return server->port;
}

void serve_end(struct server *server) {
    if (server->port != 0) {
        SYS2(kill, server->process, SIGKILL);
        SYS4(wait4, server->process, NULL, 0, NULL);
        close_quietly(server->news);
    }
    *server = (struct server){.news = -1};
}
