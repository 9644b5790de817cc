/* A job's first process. */
#ifndef GPROC_INIT_H
#define GPROC_INIT_H

/* Carry out the plan that comes from SLAVE_DESCRIPTOR, and report to REPORT_DESCRIPTOR; this process's exit status. */
int init_run(void);

#endif
