/*
 * What taking down costs a C program that is as careful as `csictl destroy`: it takes down what `csictl apply` put up, and for each
 * volume takes its lock, reads its records, looks at image, loop device and mounts before and after, and writes to its record.
 * It parses nothing, plans nothing and tells nothing: what csictl takes beyond it is csictl's own work, and what it takes beyond
 * `floor down` is what locks, records and looks cost anybody.
 *
 * usage: careful DIR COUNT   volumes bench.v0 to bench.v(COUNT-1), with csictl's state in DIR/state and DIR/run
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/loop.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <unistd.h>

#ifndef SYS_statmount
#define SYS_statmount 457
#endif
#ifndef STATX_MNT_ID_UNIQUE
#define STATX_MNT_ID_UNIQUE 0x4000U
#endif

enum { THREADS = 16, LOOKERS = 2, PATH = 4096, NODE = 32, RECORD = 16384 };

static const char *directory;
static int count;
static atomic_int next;
static char (*nodes)[NODE];
static int staging, pod, run_records;

struct mount_request {
    uint32_t size, spare;
    uint64_t mount, parameter, namespace;
};

static void die(const char *what) {
    perror(what);
    exit(1);
}

static int must(int answer, const char *what) {
    if (answer < 0)
        die(what);
    return answer;
}

static void path_of(char *path, const char *format, int n) {
    char inner[256];
    snprintf(inner, sizeof inner, format, n);
    snprintf(path, PATH, "%s/%s", directory, inner);
}

/* The kernel's unique id of the mount that a path is in; `statx` before 6.8 would answer the reused one. */
static uint64_t mount_of(int folder, const char *path) {
    struct statx facts;
    unsigned char *raw = (unsigned char *)&facts;
    uint64_t id;
    if (statx(folder, path, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT, STATX_MNT_ID_UNIQUE, &facts) != 0)
        return 0;
    memcpy(&id, raw + 0x90, sizeof id);
    return id;
}

static int mount_facts(uint64_t mount, uint64_t mask) {
    char answer[8192];
    struct mount_request request = {.size = 32, .mount = mount, .parameter = mask};
    return syscall(SYS_statmount, &request, answer, sizeof answer, 0);
}

static void read_record(const char *format, int n) {
    char path[PATH], record[RECORD];
    struct stat facts;
    path_of(path, format, n);
    int file = must(open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC), path);
    must(fstat(file, &facts), path);
    must(read(file, record, sizeof record), path);
    close(file);
}

static void look_at_image(int n) {
    char path[PATH];
    struct stat facts;
    path_of(path, "pool/bench.v%d.img", n);
    must(lstat(path, &facts), path);
}

static void look_at_loop(int n) {
    struct loop_info64 info;
    uint64_t size;
    int sector, device = must(open(nodes[n], O_RDONLY | O_NONBLOCK | O_CLOEXEC), nodes[n]);
    must(ioctl(device, LOOP_GET_STATUS64, &info), "LOOP_GET_STATUS64");
    must(ioctl(device, BLKGETSIZE64, &size), "BLKGETSIZE64");
    must(ioctl(device, BLKSSZGET, &sector), "BLKSSZGET");
    close(device);
}

/* What is looked at before a plan is made. */
static void look(int n) {
    char path[PATH], answer[4096];
    struct stat facts;
    read_record("state/volumes/bench.v%d.json", n);
    read_record("run/volumes/bench.v%d.json", n);
    look_at_image(n);
    path_of(path, "pool/bench.v%d.img", n);
    must(lgetxattr(path, "trusted.csictl", answer, sizeof answer), path);
    int image = must(open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC), path);
    must(pread(image, answer, 1024, 1024), path);
    close(image);
    look_at_loop(n);
    path_of(path, "pod/v%d", n);
    must(lstat(path, &facts), path);
}

/* Unmounts below a folder that is held open, between two looks. */
static void unmount(int folder, const char *name) {
    char path[64 + NODE];
    uint64_t mount = mount_of(folder, name);
    mount_facts(mount, 0x1f);
    snprintf(path, sizeof path, "/proc/self/fd/%d/%s", folder, name);
    must(umount2(path, UMOUNT_NOFOLLOW), name);
    if (mount_facts(mount, 0) == 0 || mount_of(folder, name) == mount)
        die("still mounted");
    must(unlinkat(folder, name, AT_REMOVEDIR), name);
}

/* The record's last line once more, as long as the one that csictl adds. */
static void write_targets(int n) {
    char path[PATH], record[RECORD];
    path_of(path, "state/volumes/bench.v%d.json", n);
    int file = must(open(path, O_RDWR | O_APPEND | O_NOFOLLOW | O_CLOEXEC), path);
    size_t length = must(read(file, record, sizeof record), path);
    char *before = length < 2 ? NULL : memrchr(record, '\n', length - 1);
    char *line = before == NULL ? record : before + 1;
    must(write(file, line, record + length - line), path);
    close(file);
}

static void down(int n) {
    char path[PATH], name[NODE];
    struct stat facts;
    path_of(path, "state/locks/bench.v%d", n);
    int lock = must(open(path, O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC), path);
    must(flock(lock, LOCK_EX | LOCK_NB), path);
    must(fstat(lock, &facts), path);
    must(lstat(path, &facts), path);
    read_record("state/volumes/bench.v%d.json", n);
    read_record("run/volumes/bench.v%d.json", n);

    look_at_image(n);
    look_at_loop(n);
    snprintf(name, sizeof name, "v%d", n);
    unmount(pod, name);
    write_targets(n);

    look_at_image(n);
    look_at_loop(n);
    snprintf(name, sizeof name, "bench.v%d", n);
    unmount(staging, name);
    snprintf(name, sizeof name, "bench.v%d.json", n);
    must(unlinkat(run_records, name, 0), name);
    close(lock);

    /* A file that anybody has open, as a loop device has, gives no lease. */
    path_of(path, "pool/bench.v%d.img", n);
    int image = must(open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC), path);
    must(fstat(image, &facts), path);
    must(fcntl(image, F_SETLEASE, F_WRLCK), "still attached");
    must(fcntl(image, F_SETLEASE, F_UNLCK), path);
    close(image);
}

static void *worker(void *act) {
    for (int n; (n = atomic_fetch_add(&next, 1)) < count;)
        (*(void (**)(int))act)(n);
    return NULL;
}

static void on_threads(int threads, void (*act)(int)) {
    pthread_t running[THREADS];
    atomic_store(&next, 0);
    for (int n = 0; n < threads; n++)
        if (pthread_create(&running[n], NULL, worker, &act) != 0)
            die("pthread_create");
    for (int n = 0; n < threads; n++)
        pthread_join(running[n], NULL);
}

/* Which loop device each staging path shows. */
static void read_mounts(void) {
    char line[8192], stage[PATH];
    FILE *mounts = fopen("/proc/self/mountinfo", "r");
    if (mounts == NULL)
        die("/proc/self/mountinfo");
    snprintf(stage, sizeof stage, "%s/run/staging/bench.v", directory);
    while (fgets(line, sizeof line, mounts) != NULL) {
        char *at = strstr(line, stage), *node = strstr(line, "/dev/loop");
        if (at == NULL || node == NULL)
            continue;
        int n = atoi(at + strlen(stage));
        if (n < count)
            sscanf(node, "%31s", nodes[n]);
    }
    fclose(mounts);
}

static int folder(const char *name) {
    char path[PATH];
    snprintf(path, sizeof path, "%s/%s", directory, name);
    return must(open(path, O_PATH | O_DIRECTORY | O_CLOEXEC), path);
}

int main(int argc, char **argv) {
    if (argc != 3) {
        fprintf(stderr, "usage: careful DIR COUNT\n");
        return 64;
    }
    directory = argv[1];
    count = atoi(argv[2]);
    nodes = calloc(count, NODE);
    staging = folder("run/staging");
    pod = folder("pod");
    run_records = folder("run/volumes");
    read_mounts();
    on_threads(LOOKERS, look);
    on_threads(THREADS, down);
    return 0;
}
