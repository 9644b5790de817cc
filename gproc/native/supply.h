/* The bytes of a runtime's archive, in order: from what an earlier run left, from the front end, or from another node.
 *
 * What comes is kept in a file beside the runtime, so that a run that was interrupted is resumed.  A supply that ends too
 * early costs nothing: the front end is told how far we are, and says from where the rest comes.  The bytes are no
 * secret; their digest shows at the end whether they are the right ones.
 */
#ifndef GPROC_SUPPLY_H
#define GPROC_SUPPLY_H

#include "serve.h"

#define RUNTIME_NAME_BYTES (sizeof "runtime-" - 1 + 2 * SHA256_BYTES)
#define PART_SUFFIX ".part"
#define MACHINE_BYTES (1 + 36 + 1 + 64) /* "-", a boot_id: random(4), "-", a host's name */
#define PART_NAME_BYTES (RUNTIME_NAME_BYTES + sizeof PART_SUFFIX - 1 + MACHINE_BYTES)

/* "-" and what tells this machine from all others that have the same home.  They may have locks that hold others back on
 * the same machine alone, as those of directories of NFS: so each has its own names for what it writes. */
const char *this_machine(void);

/* The name of the file for what comes of a runtime of that name, with a NUL. */
void part_name(char part[PART_NAME_BYTES + 1], const char *name);

/* Whether it is the name of such a file of another machine, or of an older gproc. */
bool is_part_of_another(const char *name);

/* The front end's word for where the rest comes from.  It follows each answer "need OFFSET PORT WHY".  GIVE: bytes follow
 * from `offset` to the end of the archive; those before the place that we are at are skipped, so a sender that cannot
 * listen sends all. */
struct order {
    uint32_t kind, offset;
    uint16_t port, unused;
    uint8_t address[ADDRESS_BYTES];
    uint8_t token[TOKEN_BYTES];
};
enum order_kind { GIVE, FETCH };

/* Begin to read what is `wanted`, which has no file; `name` is the runtime's.  Not `anew`: with what is there already.  Other nodes
 * get it meanwhile. */
void supply_begin(int directory, const char *name, const struct archive *wanted, bool anew);

/* The next bytes, at least one; 0 at the end of the archive, or with a failure. */
size_t supply_next(const uint8_t **bytes);

/* Whether all bytes have come, those that supply_next() has not given too, and have the digest. */
bool supply_is_right(void);

/* Whether another attempt may do better: not all bytes came from the front end in this run. */
bool supply_is_doubtful(void);

/* The end.  The file goes, unless it can be resumed.  If all was right the port at which other nodes get it; 0 if they cannot. */
uint16_t supply_end(bool good);

/* Read exactly that many bytes of standard input. */
bool read_exactly(void *to, size_t size);

#endif
