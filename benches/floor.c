/*
 * The floor that `csictl apply` and `csictl destroy` are compared with: the same system calls for the same volumes, one mkfs
 * a volume, 16 threads, and nothing else: no records, no fsync, no checks.
 *
 * usage: floor up DIR COUNT     images in DIR/pool, staged in DIR/stage, bound in DIR/pod
 *        floor down DIR COUNT   unbinds and unmounts; the images stay, as after `csictl destroy`
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/loop.h>
#include <pthread.h>
#include <spawn.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { THREADS = 16 };
static const off_t SIZE = (off_t)1 << 30;

static const char *directory;
static int count;
static atomic_int next;
static int loop_control;

static void die(const char *what) {
    perror(what);
    exit(1);
}

static void make_filesystem(const char *image) {
    char *arguments[] = {"mkfs.ext4", "-q", "-F", "-E", "nodiscard,assume_storage_prezeroed=1", (char *)image, NULL};
    char *environment[] = {"PATH=/usr/sbin:/sbin:/usr/bin:/bin", NULL};
    pid_t child;
    int status;
    if (posix_spawn(&child, "/sbin/mkfs.ext4", NULL, NULL, arguments, environment) != 0)
        die("spawn mkfs.ext4");
    if (waitpid(child, &status, 0) < 0 || status != 0)
        die("mkfs.ext4");
}

static int attach(int image, char *node, size_t node_size) {
    for (;;) {
        int index = ioctl(loop_control, LOOP_CTL_GET_FREE);
        if (index < 0)
            die("LOOP_CTL_GET_FREE");
        snprintf(node, node_size, "/dev/loop%d", index);
        int device = open(node, O_RDWR | O_CLOEXEC);
        if (device < 0)
            die(node);
        struct loop_config config = {.fd = image, .block_size = 512};
        config.info.lo_flags = LO_FLAGS_AUTOCLEAR | LO_FLAGS_DIRECT_IO;
        if (ioctl(device, LOOP_CONFIGURE, &config) == 0)
            return device;
        close(device);
        if (errno != EBUSY)
            die("LOOP_CONFIGURE");
    }
}

static void up(int n) {
    char image[4096], stage[4096], target[4096], node[64];
    snprintf(image, sizeof image, "%s/pool/%d.img", directory, n);
    snprintf(stage, sizeof stage, "%s/stage/%d", directory, n);
    snprintf(target, sizeof target, "%s/pod/%d", directory, n);
    int file = open(image, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (file < 0 || ftruncate(file, SIZE) != 0)
        die(image);
    make_filesystem(image);
    int device = attach(file, node, sizeof node);
    if (mkdir(stage, 0700) != 0 || mkdir(target, 0755) != 0)
        die("mkdir");
    if (mount(node, stage, "ext4", MS_NOSUID | MS_NODEV, "errors=remount-ro") != 0)
        die("mount");
    close(device);
    close(file);
    if (mount(stage, target, NULL, MS_BIND, NULL) != 0)
        die("bind");
}

static void down(int n) {
    char stage[4096], target[4096];
    snprintf(stage, sizeof stage, "%s/stage/%d", directory, n);
    snprintf(target, sizeof target, "%s/pod/%d", directory, n);
    if (umount2(target, UMOUNT_NOFOLLOW) != 0 || rmdir(target) != 0)
        die(target);
    if (umount2(stage, UMOUNT_NOFOLLOW) != 0 || rmdir(stage) != 0)
        die(stage);
}

static void *worker(void *act) {
    for (int n; (n = atomic_fetch_add(&next, 1)) < count;)
        (*(void (**)(int))act)(n);
    return NULL;
}

int main(int argc, char **argv) {
    if (argc != 4) {
        fprintf(stderr, "usage: floor up|down DIR COUNT\n");
        return 64;
    }
    void (*act)(int) = strcmp(argv[1], "up") == 0 ? up : down;
    directory = argv[2];
    count = atoi(argv[3]);
    char path[4096];
    const char *folders[] = {"pool", "stage", "pod"};
    for (size_t n = 0; n < 3; n++) {
        snprintf(path, sizeof path, "%s/%s", directory, folders[n]);
        if (mkdir(path, 0700) != 0 && errno != EEXIST)
            die(path);
    }
    loop_control = open("/dev/loop-control", O_RDWR | O_CLOEXEC);
    if (loop_control < 0)
        die("/dev/loop-control");
    pthread_t threads[THREADS];
    for (int n = 0; n < THREADS; n++)
        if (pthread_create(&threads[n], NULL, worker, &act) != 0)
            die("pthread_create");
    for (int n = 0; n < THREADS; n++)
        pthread_join(threads[n], NULL);
    return 0;
}
