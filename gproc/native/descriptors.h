/* Open descriptors of this process. */
#ifndef GPROC_DESCRIPTORS_H
#define GPROC_DESCRIPTORS_H

/* Close this and all higher ones. */
void close_from(int first);

#endif
