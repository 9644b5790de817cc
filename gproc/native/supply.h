/* The bytes of a runtime's archive, in order: from what an earlier run left, from the front end, or from another node.
 *
 * What comes is kept in a file beside the runtime, so that a run that was interrupted is resumed.  A supply that ends too
 * early costs nothing: the front end is told how far we are, and says from where the rest comes.  The bytes are nobody's
 * secret; that they are the right ones is known at the end, by their digest.
 */
#ifndef GPROC_SUPPLY_H
#define GPROC_SUPPLY_H

#include "serve.h"

#define RUNTIME_NAME_BYTES (sizeof "runtime-" - 1 + 2 * SHA256_BYTES)
#define PART_SUFFIX ".part"

/* The front end's word for where the rest comes from.  It follows each answer "need OFFSET PORT WHY".  GIVE: bytes follow
 * from `offset` to the end of the archive; those before the place that we are at are skipped, so that who cannot listen
 * sends all. */
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
