/* A plug-in for QEMU: counts executed instructions of AArch64 by kind, and prints the counts at each `getppid`.
 *
 * The program under test calls `os.getppid()` where a count begins and ends; the rest of it drops out. Kinds are told by
 * the bits of an instruction, as the architecture's manual lists them. */
#include <inttypes.h>
#include <stdio.h>
#include <qemu-plugin.h>

QEMU_PLUGIN_EXPORT int qemu_plugin_version = QEMU_PLUGIN_VERSION;

struct kind {
    const char *name;
    uint32_t mask, bits;
};

/* The first that fits. Several rows of one name follow each other. */
static const struct kind kinds[] = {
    {"fmla fp32", 0xBFE0FC00, 0x0E20CC00}, {"fmla fp32", 0xBFC0F400, 0x0F801000},
    {"fmla fp16", 0xBFE0FC00, 0x0E400C00}, {"fmla fp16", 0xBFC0F400, 0x0F001000},
    {"dot product", 0x9FE0FC00, 0x0E809400}, {"dot product", 0x9FC0F400, 0x0F80E000},
    {"widening multiply", 0x9F20FC00, 0x0E208000}, {"widening multiply", 0x9F20FC00, 0x0E20C000},
    {"widening multiply", 0x9F00F400, 0x0F002000}, {"widening multiply", 0x9F00F400, 0x0F00A000},
    {"pairwise add", 0x9F3FFC00, 0x0E206800}, {"pairwise add", 0x9F3FFC00, 0x0E202800},
    {"other vector", 0x0E000000, 0x0E000000},
    {"load or store", 0x0A000000, 0x08000000},
    {"other", 0, 0},
};
enum { KINDS = sizeof kinds / sizeof *kinds, GETPPID = 173 };
static struct qemu_plugin_scoreboard *counts;

static qemu_plugin_u64 count(size_t kind)
{
    return (qemu_plugin_u64){counts, kind * sizeof(uint64_t)};
}

static void translated(qemu_plugin_id_t id, struct qemu_plugin_tb *block)
{
    for (size_t i = 0; i < qemu_plugin_tb_n_insns(block); i++) {
        struct qemu_plugin_insn *insn = qemu_plugin_tb_get_insn(block, i);
        uint32_t word = 0;
        size_t kind = 0;
        qemu_plugin_insn_data(insn, &word, sizeof word);
        while ((word & kinds[kind].mask) != kinds[kind].bits) {
            kind++;
        }
        qemu_plugin_register_vcpu_insn_exec_inline_per_vcpu(insn, QEMU_PLUGIN_INLINE_ADD_U64, count(kind), 1);
    }
}

static void called(qemu_plugin_id_t id, unsigned int vcpu, int64_t number, uint64_t a1, uint64_t a2, uint64_t a3,
                   uint64_t a4, uint64_t a5, uint64_t a6, uint64_t a7, uint64_t a8)
{
    if (number != GETPPID) {
        return;
    }
    for (size_t kind = 0; kind < KINDS; kind++) {
        fprintf(stderr, "%s\"%s\", %" PRIu64 "]", kind ? ", [" : "COUNT [[", kinds[kind].name,
                qemu_plugin_u64_sum(count(kind)));
    }
    fprintf(stderr, "]\n");
}

QEMU_PLUGIN_EXPORT int qemu_plugin_install(qemu_plugin_id_t id, const qemu_info_t *info, int argc, char **argv)
{
    counts = qemu_plugin_scoreboard_new(KINDS * sizeof(uint64_t));
    qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
    qemu_plugin_register_vcpu_syscall_cb(id, called);
    return 0;
}
