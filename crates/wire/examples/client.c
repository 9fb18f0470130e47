/* A client of envpool in C: frames on a Unix socket, whole or partial batches, discrete actions.
 *
 *     envpool --env cartpole --listen unix:/tmp/envpool.sock &
 *     cc -std=c11 -O2 -o client client.c
 *     ./client /tmp/envpool.sock 8 4 100        # 8 environments, 4 at a time, 100 steps of each
 *
 * It follows PROTOCOL.md, whose words it uses. For every environment of every answer it prints a line: number, reward,
 * terminated, truncated, observation; floats as the hexadecimal of their bits. An episode that ended has a line
 * `finished` with environment, length and return. For little-endian machines, as the protocol is little-endian. */
#define _POSIX_C_SOURCE 200809L
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { HELLO = 1, OPEN = 2, RESET = 3, STEP = 4, GOODBYE = 6, WELCOME = 101, OPENED = 102, SLAB = 103, REFUSED = 105 };
enum { CAN_BATCH = 8, SESSION = 1, HEADER_BYTES = 24 };

static int server;

static void fail(const char *what) {
    fprintf(stderr, "client: %s\n", what);
    exit(1);
}

static void *room(size_t bytes) {
    void *memory = calloc(1, bytes ? bytes : 1);
    if (!memory) fail("no memory");
    return memory;
}

static void write_all(const void *bytes, size_t length) {
    for (const char *at = bytes; length > 0;) {
        ssize_t written = write(server, at, length);
        if (written <= 0) fail("the server went away");
        at += written, length -= (size_t)written;
    }
}

static void read_all(void *bytes, size_t length) {
    for (char *at = bytes; length > 0;) {
        ssize_t received = read(server, at, length);
        if (received <= 0) fail("the server went away");
        at += received, length -= (size_t)received;
    }
}

/* The header: ENVP, version, kind, session, reserved, length. */
static void send_frame(uint16_t kind, uint32_t session, const void *body, uint64_t length) {
    unsigned char header[HEADER_BYTES] = {'E', 'N', 'V', 'P', 2, 0};
    memcpy(header + 6, &kind, 2);
    memcpy(header + 8, &session, 4);
    memcpy(header + 16, &length, 8);
    write_all(header, sizeof header);
    write_all(body, length);
}

/* The body of the next frame, which must be of this kind and at most this long; a refusal is the end. */
static unsigned char *receive_frame(uint16_t due, uint64_t most, uint64_t *length) {
    unsigned char header[HEADER_BYTES];
    uint16_t version, kind;
    read_all(header, sizeof header);
    memcpy(&version, header + 4, 2);
    memcpy(&kind, header + 6, 2);
    memcpy(length, header + 16, 8);
    if (memcmp(header, "ENVP", 4) || version != 2) fail("this server speaks something else");
    if (kind == REFUSED && *length < 1 << 16) {
        unsigned char *refusal = room(*length + 1);
        read_all(refusal, *length);
        fail(*length > 12 ? (char *)refusal + 12 : "refused"); /* u32 code, u64 length, text */
    }
    if (kind != due || *length > most) fail("an answer that was not due");
    unsigned char *body = room(*length);
    read_all(body, *length);
    return body;
}

/* Where the sections of a slab begin, each at a multiple of 64 bytes. */
struct layout { size_t reward, terminated, truncated, env_id, count, records, record_bytes; };

static size_t section(size_t *end, size_t bytes) {
    size_t start = *end;
    *end = (start + bytes + 63) / 64 * 64;
    return start;
}

static struct layout lay_out(size_t n, size_t obs_len, size_t n_cost_kinds, int is_partial) {
    struct layout at = {0};
    size_t end = 0;
    section(&end, 4 * n * obs_len);
    at.reward = section(&end, 4 * n);
    at.terminated = section(&end, n);
    at.truncated = section(&end, n);
    if (is_partial) at.env_id = section(&end, 4 * n);
    at.count = section(&end, 8);
    at.records = end;
    at.record_bytes = 48 + 8 * n_cost_kinds + (4 * obs_len + 7) / 8 * 8;
    return at;
}

static uint32_t word(const unsigned char *bytes, size_t at, size_t i) {
    uint32_t value;
    memcpy(&value, bytes + at + 4 * i, 4);
    return value;
}

static void print_slab(const unsigned char *slab, struct layout at, uint32_t n, uint32_t obs_len, int is_partial) {
    for (uint32_t row = 0; row < n; row++) {
        uint32_t env = is_partial ? word(slab, at.env_id, row) : row;
        printf("%" PRIu32 " %08" PRIx32, env, word(slab, at.reward, row));
        printf(" %d %d", slab[at.terminated + row], slab[at.truncated + row]);
        for (uint32_t i = 0; i < obs_len; i++) printf(" %08" PRIx32, word(slab, 0, (size_t)row * obs_len + i));
        putchar('\n');
    }
    uint64_t n_finished, bits;
    memcpy(&n_finished, slab + at.count, 8);
    for (size_t i = 0; i < n_finished; i++) {
        const unsigned char *record = slab + at.records + i * at.record_bytes;
        memcpy(&bits, record + 8, 8);
        printf("finished %" PRIu32 " %" PRIu32 " %016" PRIx64 "\n", word(record, 0, 0), word(record, 4, 0), bits);
    }
}

int main(int n_arguments, char **arguments) {
    if (n_arguments != 5) fail("usage: client SOCKET ENVS BATCH STEPS");
    uint32_t n_envs = (uint32_t)atoi(arguments[2]), n = (uint32_t)atoi(arguments[3]);
    int n_steps = atoi(arguments[4]), is_partial = n != n_envs;
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (n == 0 || n > n_envs || n_envs % n != 0) fail("ENVS must be a multiple of BATCH, to play them in turn");
    if (strlen(arguments[1]) >= sizeof address.sun_path) fail("a path too long for a socket");
    strcpy(address.sun_path, arguments[1]);
    server = socket(AF_UNIX, SOCK_STREAM, 0);
    if (connect(server, (struct sockaddr *)&address, sizeof address)) fail("nobody listens there");

    /* Hello: a string and the capabilities. The specification in Welcome says what there is; JSON is not read here. */
    unsigned char hello[8 + 8 + 8] = {8, 0, 0, 0, 0, 0, 0, 0, 'c', ' ', 'c', 'l', 'i', 'e', 'n', 't', CAN_BATCH};
    uint64_t length;
    send_frame(HELLO, 0, hello, sizeof hello);
    free(receive_frame(WELCOME, 16 << 20, &length));

    /* Open: u32 n_envs, u64 seed, range 0 (training days), start 0, episode 0, autoreset 0 (within the step), no trace,
     * no liquidation, no holding account, and, as both sides know of it, u32 batch. */
    unsigned char open[4 + 8 + 4 * 4 + 3 + 4] = {0};
    uint64_t seed = 7;
    memcpy(open, &n_envs, 4);
    memcpy(open + 4, &seed, 8);
    memcpy(open + 31, &n, 4);
    send_frame(OPEN, SESSION, open, sizeof open);
    unsigned char *opened = receive_frame(OPENED, 4096, &length);
    uint32_t obs_len = word(opened, 4, 0), n_cost_kinds = word(opened, 8, 0);
    struct layout at = lay_out(n, obs_len, n_cost_kinds, is_partial);
    uint64_t most = at.records + (uint64_t)n * at.record_bytes;

    /* A request: the numbers of its environments, ascending, where it names some; then, in a Step, their actions. Here
     * all parts are sent before the first answer is read. That is right for as long as sockets hold the requests;
     * whoever sends more must read answers while writing, as the server may wait for them to be read. */
    uint32_t *request = room(8 * (size_t)n), n_parts = n_envs / n;
    for (int step = -1; step < n_steps; step++) {
        for (uint32_t part = 0; part < n_parts; part++) {
            uint32_t n_ids = is_partial ? n : 0;
            for (uint32_t i = 0; i < n; i++) {
                uint32_t env = part * n + i;
                if (is_partial) request[i] = env;
                if (step >= 0) request[n_ids + i] = (env + (uint32_t)step / 3) % 2;
            }
            if (step < 0) send_frame(RESET, SESSION, request, 4 * (uint64_t)n_ids);
            else send_frame(STEP, SESSION, request, 4 * ((uint64_t)n_ids + n));
        }
        for (uint32_t part = 0; part < n_parts; part++) {
            unsigned char *slab = receive_frame(SLAB, most, &length);
            uint64_t n_finished = 0;
            if (length >= at.records) memcpy(&n_finished, slab + at.count, 8);
            if (n_finished > n || length != at.records + n_finished * at.record_bytes) fail("a slab of another length");
            print_slab(slab, at, n, obs_len, is_partial);
            free(slab);
        }
    }
    send_frame(GOODBYE, 0, "", 0);
    free(request);
    free(opened);
    return close(server);
}
