// Reads scattered pieces of one file into an arena, many at a time, in two ways:
//
//   pool   threads that call pread, each taking the next piece from a common list
//   ring   an io_uring: one thread, no copy of the list, a system call for many pieces
//
// Build: cc -O2 -shared -fPIC -pthread. Nothing but libc and the kernel's headers is needed; where those know no
// io_uring, only the pool is built, and flashio_ring_open says ENOSYS.
//
// A read of `count` pieces, one or more, takes offsets and lengths in bytes and the arena slots at which they begin. It returns the
// bytes read, or -errno of a piece that failed, whose index is then in `failed`; ENODATA stands for a file that ended
// early. When it returns, nothing is in flight. Callers check that the pieces lie in the arena.
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

struct arena {
    char *base;
    int64_t slot_bytes;
};

struct pieces {
    int64_t count;
    const int64_t *offsets, *lengths, *slots;
};

// ---- A pool of threads that call pread ------------------------------------------------------------------------------

struct pool {
    int descriptor;
    struct arena arena;
    struct pieces pieces;
    int threads; // beside the caller, who works too
    pthread_t *ids;
    sem_t begin, done; // a batch posts `begin` once a thread it wants, and waits for as many `done`
    atomic_int stop;
    atomic_llong next, bytes, failed; // `failed` is the index of the first piece seen to fail, or -1
    atomic_int error;
};

static void work(struct pool *pool) {
    int64_t bytes = 0, i;
    while (atomic_load(&pool->failed) < 0 && (i = atomic_fetch_add(&pool->next, 1)) < pool->pieces.count) {
        size_t length = pool->pieces.lengths[i];
        ssize_t got;
        do
            got = pread(pool->descriptor, pool->arena.base + pool->pieces.slots[i] * pool->arena.slot_bytes, length,
                        pool->pieces.offsets[i]);
        while (got < 0 && errno == EINTR);
        if (got == (ssize_t)length) {
            bytes += got;
            continue;
        }
        int error = got < 0 ? errno : ENODATA;
        long long none = -1;
        if (atomic_compare_exchange_strong(&pool->failed, &none, i)) atomic_store(&pool->error, error);
    }
    atomic_fetch_add(&pool->bytes, bytes);
}

static void wait_for(sem_t *semaphore) {
    while (sem_wait(semaphore) && errno == EINTR) {}
}

static void *serve(void *argument) {
    struct pool *pool = argument;
    for (;;) {
        wait_for(&pool->begin);
        if (atomic_load(&pool->stop)) return NULL;
        work(pool);
        sem_post(&pool->done);
    }
}

void flashio_pool_close(struct pool *pool) {
    atomic_store(&pool->stop, 1);
    for (int i = 0; i < pool->threads; i++) sem_post(&pool->begin);
    for (int i = 0; i < pool->threads; i++) pthread_join(pool->ids[i], NULL);
    sem_destroy(&pool->begin);
    sem_destroy(&pool->done);
    free(pool->ids);
    free(pool);
}

// NULL with errno where there is no memory or no thread to be had.
struct pool *flashio_pool_open(int descriptor, void *base, int64_t slot_bytes, int depth) {
    struct pool *pool = calloc(1, sizeof *pool);
    pthread_t *ids = calloc(depth, sizeof *ids);
    if (!pool || !ids) {
        free(pool);
        free(ids);
        errno = ENOMEM;
        return NULL;
    }
    pool->descriptor = descriptor;
    pool->arena = (struct arena){base, slot_bytes};
    pool->ids = ids;
    sem_init(&pool->begin, 0, 0);
    sem_init(&pool->done, 0, 0);
    while (pool->threads < depth - 1) {
        int error = pthread_create(&ids[pool->threads], NULL, serve, pool);
        if (error) {
            flashio_pool_close(pool);
            errno = error;
            return NULL;
        }
        pool->threads++;
    }
    return pool;
}

int64_t flashio_pool_read(struct pool *pool, int64_t count, const int64_t *offsets, const int64_t *lengths,
                          const int64_t *slots, int64_t *failed) {
    pool->pieces = (struct pieces){count, offsets, lengths, slots};
    atomic_store(&pool->next, 0);
    atomic_store(&pool->bytes, 0);
    atomic_store(&pool->failed, -1);
    int helpers = count - 1 < pool->threads ? (int)(count - 1) : pool->threads;
    for (int i = 0; i < helpers; i++) sem_post(&pool->begin);
    work(pool);
    for (int i = 0; i < helpers; i++) wait_for(&pool->done);
    *failed = atomic_load(&pool->failed);
    return *failed < 0 ? atomic_load(&pool->bytes) : -atomic_load(&pool->error);
}

// ---- An io_uring, by system calls -----------------------------------------------------------------------------------

#if defined(__has_include) && __has_include(<linux/io_uring.h>)
#include <linux/io_uring.h>
#include <sys/uio.h>

#ifndef IORING_SETUP_COOP_TASKRUN // Linux 5.19; headers may be older than the kernel
#define IORING_SETUP_COOP_TASKRUN (1U << 8)
#endif

struct ring {
    int ring, depth;
    struct arena arena;
    int fixed; // the arena is registered: its pages are pinned once, not for each read
    void *queues;
    size_t queues_bytes, entries_bytes;
    unsigned *submit_tail, *submit_mask, *submit_array;
    unsigned *complete_head, *complete_tail, *complete_mask;
    struct io_uring_sqe *entries;
    struct io_uring_cqe *completions;
};

static int setup(int depth, struct io_uring_params *params) {
    // Completions need not interrupt the thread that is going to ask for them anyway.
    *params = (struct io_uring_params){.flags = IORING_SETUP_COOP_TASKRUN};
    int ring = (int)syscall(__NR_io_uring_setup, depth, params);
    if (ring >= 0 || errno != EINVAL) return ring;
    *params = (struct io_uring_params){0};
    return (int)syscall(__NR_io_uring_setup, depth, params);
}

void flashio_ring_close(struct ring *ring) {
    if (ring->entries) munmap(ring->entries, ring->entries_bytes);
    if (ring->queues) munmap(ring->queues, ring->queues_bytes);
    close(ring->ring);
    free(ring);
}

static void *map(struct ring *ring, size_t bytes, off_t what) {
    void *at = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, ring->ring, what);
    return at == MAP_FAILED ? NULL : at;
}

// NULL with errno where the kernel has no io_uring, forbids it, or has no room for it.
struct ring *flashio_ring_open(int descriptor, void *base, int64_t slot_bytes, int64_t slots, int depth) {
    struct io_uring_params params;
    struct ring *ring = calloc(1, sizeof *ring);
    if (!ring) return NULL;
    ring->ring = setup(depth, &params);
    if (ring->ring < 0) {
        free(ring);
        return NULL;
    }
    ring->depth = depth;
    ring->arena = (struct arena){base, slot_bytes};
    size_t submit_bytes = params.sq_off.array + params.sq_entries * sizeof(unsigned);
    size_t complete_bytes = params.cq_off.cqes + params.cq_entries * sizeof(struct io_uring_cqe);
    ring->queues_bytes = submit_bytes > complete_bytes ? submit_bytes : complete_bytes;
    ring->entries_bytes = params.sq_entries * sizeof(struct io_uring_sqe);
    // Both queues in one mapping is Linux 5.4, as is nearly everything that has io_uring.
    errno = ENOSYS;
    if (params.features & IORING_FEAT_SINGLE_MMAP) {
        ring->queues = map(ring, ring->queues_bytes, IORING_OFF_SQ_RING);
        ring->entries = map(ring, ring->entries_bytes, IORING_OFF_SQES);
    }
    // A registered file costs no reference counting a read.
    if (!ring->queues || !ring->entries ||
        syscall(__NR_io_uring_register, ring->ring, IORING_REGISTER_FILES, &descriptor, 1)) {
        int error = errno;
        flashio_ring_close(ring);
        errno = error;
        return NULL;
    }
    // A limit on locked memory may forbid this; plain reads do then.
    struct iovec whole = {base, (size_t)(slots * slot_bytes)};
    ring->fixed = !syscall(__NR_io_uring_register, ring->ring, IORING_REGISTER_BUFFERS, &whole, 1);
    char *at = ring->queues;
    ring->submit_tail = (unsigned *)(at + params.sq_off.tail);
    ring->submit_mask = (unsigned *)(at + params.sq_off.ring_mask);
    ring->submit_array = (unsigned *)(at + params.sq_off.array);
    ring->complete_head = (unsigned *)(at + params.cq_off.head);
    ring->complete_tail = (unsigned *)(at + params.cq_off.tail);
    ring->complete_mask = (unsigned *)(at + params.cq_off.ring_mask);
    ring->completions = (struct io_uring_cqe *)(at + params.cq_off.cqes);
    return ring;
}

static void push(struct ring *ring, const struct pieces *pieces, int64_t i) {
    unsigned tail = *ring->submit_tail, at = tail & *ring->submit_mask;
    ring->entries[at] = (struct io_uring_sqe){
        .opcode = ring->fixed ? IORING_OP_READ_FIXED : IORING_OP_READ,
        .flags = IOSQE_FIXED_FILE,
        .addr = (uint64_t)(uintptr_t)(ring->arena.base + pieces->slots[i] * ring->arena.slot_bytes),
        .len = (uint32_t)pieces->lengths[i],
        .off = (uint64_t)pieces->offsets[i],
        .user_data = (uint64_t)i,
    };
    ring->submit_array[at] = at;
    __atomic_store_n(ring->submit_tail, tail + 1, __ATOMIC_RELEASE);
}

int64_t flashio_ring_read(struct ring *ring, int64_t count, const int64_t *offsets, const int64_t *lengths,
                          const int64_t *slots, int64_t *failed) {
    struct pieces pieces = {count, offsets, lengths, slots};
    int64_t next = 0, bytes = 0, error = 0;
    int in_flight = 0, unsubmitted = 0;
    *failed = -1;
    while (in_flight || (next < count && !error)) {
        for (; next < count && in_flight < ring->depth && !error; in_flight++, unsubmitted++) push(ring, &pieces, next++);
        long taken = syscall(__NR_io_uring_enter, ring->ring, unsubmitted, 1, IORING_ENTER_GETEVENTS, NULL, 0);
        if (taken >= 0) unsubmitted -= (int)taken; // the kernel may take fewer than it was offered
        else if (errno != EINTR && errno != EAGAIN && errno != EBUSY) { // no piece failed but the ring: a bug
            *failed = 0;
            return -errno;
        }
        unsigned head = *ring->complete_head, tail = __atomic_load_n(ring->complete_tail, __ATOMIC_ACQUIRE);
        for (; head != tail; head++, in_flight--) {
            const struct io_uring_cqe *completion = &ring->completions[head & *ring->complete_mask];
            int64_t i = (int64_t)completion->user_data;
            if (completion->res == lengths[i]) {
                bytes += completion->res;
            } else if (!error) {
                error = completion->res < 0 ? -completion->res : ENODATA;
                *failed = i;
            }
        }
        __atomic_store_n(ring->complete_head, head, __ATOMIC_RELEASE);
    }
    return error ? -error : bytes;
}

#else

struct ring;

struct ring *flashio_ring_open(int descriptor, void *base, int64_t slot_bytes, int64_t slots, int depth) {
    (void)descriptor, (void)base, (void)slot_bytes, (void)slots, (void)depth;
    errno = ENOSYS;
    return NULL;
}

int64_t flashio_ring_read(struct ring *ring, int64_t count, const int64_t *offsets, const int64_t *lengths,
                          const int64_t *slots, int64_t *failed) {
    (void)ring, (void)count, (void)offsets, (void)lengths, (void)slots, (void)failed;
    return -ENOSYS;
}

void flashio_ring_close(struct ring *ring) { (void)ring; }
#endif
