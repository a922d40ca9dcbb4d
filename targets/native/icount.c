/* A plugin for QEMU's translator that counts the instructions of an aarch64 guest, by class, between two marks of the
 * guest (counts.h). Counts are exact and repeatable with one thread; the additions of several threads may collide.
 *
 * The prototypes restate the few entry points of version 1 of the plugin interface, so that no QEMU header is needed.
 * Classes by the encodings of the Arm Architecture Reference Manual (DDI 0487), section C4.1. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "counts.h"

typedef uint64_t plugin_id;
struct qemu_plugin_tb;
struct qemu_plugin_insn;
typedef void (*on_translation)(plugin_id, struct qemu_plugin_tb *);
typedef void (*on_syscall)(plugin_id, unsigned, int64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t,
                           uint64_t, uint64_t);
extern void qemu_plugin_register_vcpu_tb_trans_cb(plugin_id, on_translation);
extern void qemu_plugin_register_vcpu_syscall_cb(plugin_id, on_syscall);
extern void qemu_plugin_register_vcpu_tb_exec_inline(struct qemu_plugin_tb *, int operation, void *, uint64_t);
extern size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *);
extern struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *, size_t);
extern const void *qemu_plugin_insn_data(const struct qemu_plugin_insn *);
#define ADD_U64 0
#define EXPORT __attribute__((visibility("default")))
#define SYS_PRCTL_AARCH64 167

EXPORT int qemu_plugin_version = 1;

static uint64_t counts[HARNESS_CLASSES], at_begin[HARNESS_CLASSES];
static FILE *out;

static bool is(uint32_t instruction, uint32_t mask, uint32_t value) { return (instruction & mask) == value; }

static void classify(uint32_t i, uint64_t *n)
{
    uint32_t group = i >> 25 & 15, either_sign = i & ~(1u << 29);
    n[ALL]++;
    if ((group & 5) == 4)
        n[LOAD_STORE]++;
    else if ((group & 14) == 10)
        n[BRANCH]++;
    else if ((group & 7) == 7)
        n[SIMD_FP]++;
    else if (group == 2)
        n[SVE]++;
    else if (group == 0 && i >> 31)
        n[SME]++;
    /* FMLA and FMLS of vectors, by vector and by element; SDOT and UDOT alike; SMMLA and UMMLA. */
    n[FMLA_F32] += is(i, 0xBF60FC00, 0x0E20CC00) || is(i, 0xBFC0B400, 0x0F801000);
    n[FMLA_F16] += is(i, 0xBF60FC00, 0x0E400C00) || is(i, 0xBFC0B400, 0x0F001000);
    n[DOT_I8] += is(either_sign, 0xBFE0FC00, 0x0E809400) || is(either_sign, 0xBFC0F400, 0x0F80E000);
    n[MMLA_I8] += is(either_sign, 0xFFE0FC00, 0x4E80A400);
}

/* What a block of code adds is known when it is translated; running it adds that, inline. */
static void translated(plugin_id id, struct qemu_plugin_tb *block)
{
    uint64_t n[HARNESS_CLASSES] = {0};
    (void)id;
    for (size_t j = 0; j < qemu_plugin_tb_n_insns(block); j++) {
        uint32_t instruction;
        memcpy(&instruction, qemu_plugin_insn_data(qemu_plugin_tb_get_insn(block, j)), 4);
        classify(instruction, n);
    }
    for (int j = 0; j < HARNESS_CLASSES; j++)
        if (n[j]) qemu_plugin_register_vcpu_tb_exec_inline(block, ADD_U64, &counts[j], n[j]);
}

static void called(plugin_id id, unsigned cpu, int64_t number, uint64_t mark, uint64_t b, uint64_t c, uint64_t d,
                   uint64_t e, uint64_t f, uint64_t g, uint64_t h)
{
    (void)id, (void)cpu, (void)b, (void)c, (void)d, (void)e, (void)f, (void)g, (void)h;
    if (number != SYS_PRCTL_AARCH64) return;
    if (mark == HARNESS_MARK_BEGIN) memcpy(at_begin, counts, sizeof counts);
    if (mark == HARNESS_MARK_END) {
        uint64_t record[HARNESS_CLASSES];
        for (int j = 0; j < HARNESS_CLASSES; j++) record[j] = counts[j] - at_begin[j];
        fwrite(record, sizeof record, 1, out);
        fflush(out);
    }
}

/* Argument: out=FILE, where the records go. */
EXPORT int qemu_plugin_install(plugin_id id, const void *info, int argc, char **argv)
{
    (void)info;
    for (int i = 0; i < argc; i++)
        if (!strncmp(argv[i], "out=", 4)) out = fopen(argv[i] + 4, "wb");
    if (!out) return -1;
    qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
    qemu_plugin_register_vcpu_syscall_cb(id, called);
    return 0;
}
