/* Beneath libc's writing calls, for files under one folder: counts and logs them, and at one of
 * them kills, stops, fails or cuts short. Loaded by LD_PRELOAD; `fault_shim.py` tells how.
 *
 * Armed by fault_arm("root=/folder;log=/file;at=7;do=half") or by the variable FAULT_ARM at the
 * start. `do` is
 *     before, half, after   SIGKILL before the call, with half of its bytes written, after it
 *     stop                  SIGSTOP before the call
 *     short                 half of the bytes written, and no error
 *     error:28              this errno, and nothing done
 *     full:28               this errno from the call on, of all that take space on a disk
 * without `at`, calls are counted and logged alone.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/fs.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

enum action { NONE, BEFORE, HALF, AFTER, STOP, SHORT, ERROR, FULL };

static char root[PATH_MAX];
static size_t root_length;
static volatile int armed;
static int log_file = -1;
static long count, at;
static enum action action;
static int action_error;
static pthread_mutex_t lock = PTHREAD_RECURSIVE_MUTEX_INITIALIZER_NP;

/* What the log holds of a call; paths and bytes follow. */
struct record {
    char call[16];
    int64_t result, error, inode, offset, length;
    uint32_t path, target;
    uint64_t bytes;
};

#define REAL(name, ...) ((__typeof__(&name))next(#name))(__VA_ARGS__)

static void *next(const char *name) {
    void *found = dlsym(RTLD_NEXT, name);
    if (!found) abort();
    return found;
}

static ssize_t full_write(int file, const void *data, size_t size) {
    size_t done = 0;
    while (done < size) {
        ssize_t n = REAL(write, file, (const char *)data + done, size - done);
        if (n <= 0) return -1;
        done += n;
    }
    return done;
}

static void log_call(const char *call, int64_t result, int error, int64_t inode, int64_t offset,
                     int64_t length, const char *path, const char *target, const void *bytes,
                     size_t size) {
    if (log_file < 0) return;
    struct record record = {.result = result, .error = error, .inode = inode, .offset = offset,
                            .length = length, .path = strlen(path), .target = strlen(target),
                            .bytes = size};
    strncpy(record.call, call, sizeof record.call - 1);
    full_write(log_file, &record, sizeof record);
    full_write(log_file, path, record.path);
    full_write(log_file, target, record.target);
    full_write(log_file, bytes, size);
}

/* A line of the caller's own in the log: where it is by now. */
void fault_mark(const char *text) {
    int kept = errno;
    pthread_mutex_lock(&lock);
    if (armed) log_call("mark", 0, 0, 0, 0, 0, text, "", "", 0);
    pthread_mutex_unlock(&lock);
    errno = kept;
}

long fault_count(void) { return count; }

void fault_disarm(void) {
    armed = 0;
    if (log_file >= 0) close(log_file);
    log_file = -1;
}

void fault_arm(const char *words) {
    static const struct { const char *name; enum action action; } actions[] = {
        {"before", BEFORE}, {"half", HALF}, {"after", AFTER}, {"stop", STOP},
        {"short", SHORT}, {"error", ERROR}, {"full", FULL}};
    char text[3 * PATH_MAX], *rest = text;
    fault_disarm();
    snprintf(text, sizeof text, "%s", words);
    root[0] = 0, at = count = 0, action = NONE;
    for (char *word; (word = strsep(&rest, ";"));) {
        char *value = strchr(word, '=');
        if (!value) continue;
        *value++ = 0;
        if (!strcmp(word, "root")) snprintf(root, sizeof root, "%s", value);
        if (!strcmp(word, "at")) at = atol(value);
        if (!strcmp(word, "log")) {
            int file = REAL(open, value, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
            log_file = fcntl(file, F_DUPFD_CLOEXEC, 900);  /* out of the way of limits */
            if (log_file < 0) log_file = file; else close(file);
        }
        if (!strcmp(word, "do"))
            for (size_t i = 0; i < sizeof actions / sizeof *actions; i++) {
                size_t n = strlen(actions[i].name);
                if (strncmp(value, actions[i].name, n)) continue;
                action = actions[i].action;
                action_error = value[n] == ':' ? atoi(value + n + 1) : 0;
            }
    }
    root_length = strlen(root);
    armed = root_length > 0;
}

__attribute__((constructor)) static void from_environment(void) {
    const char *words = getenv("FAULT_ARM");
    if (words) fault_arm(words);
}

/* Whether the path is the root or beneath it. */
static int beneath(const char *path) {
    return !strncmp(path, root, root_length) && (!path[root_length] || path[root_length] == '/');
}

static void whole_path(int folder, const char *path, char *out) {
    char base[PATH_MAX] = "", link[64];
    if (path[0] != '/') {
        snprintf(link, sizeof link, "/proc/self/fd/%d", folder);
        ssize_t n = folder == AT_FDCWD ? readlink("/proc/self/cwd", base, sizeof base - 1)
                                       : readlink(link, base, sizeof base - 1);
        base[n > 0 ? n : 0] = 0;
        while (path[0] == '.' && path[1] == '/') path += 2;
    }
    snprintf(out, PATH_MAX, base[0] ? "%s/%s" : "%s%s", base, path);
    size_t n = strlen(out);
    while (n > 1 && (out[n - 1] == '/' || !strcmp(out + n - 2, "/."))) out[--n] = 0;
}

static int path_of(int file, char *out) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t n = readlink(link, out, PATH_MAX - 1);
    out[n > 0 ? n : 0] = 0;
    return n > 0 && out[0] == '/' && beneath(out);
}

static int64_t inode_of(int file) {
    struct stat state;
    return fstat(file, &state) ? 0 : (int64_t)state.st_ino;
}

/* What is to be done with this call; kills and stops are done here, but for HALF and AFTER. */
static enum action due(int takes_space) {
    count++;
    if (!at) return NONE;
    if (action == FULL) return count >= at && takes_space ? ERROR : NONE;
    if (count != at) return NONE;
    if (action == BEFORE) kill(getpid(), SIGKILL);
    if (action == STOP) kill(getpid(), SIGSTOP);
    return action;
}

static void finish(enum action now) {
    if (now == AFTER || now == HALF) kill(getpid(), SIGKILL);
}

/* Wrap a call: `watched` says whether it counts, `call` makes it, `note` logs it. */
#define WRAP(type, watched, takes_space, call, note)                  \
    int kept = errno;                                                 \
    if (!armed) return call;                                          \
    pthread_mutex_lock(&lock);                                        \
    type result;                                                      \
    if (!(watched)) {                                                 \
        pthread_mutex_unlock(&lock);                                  \
        errno = kept;                                                 \
        return call;                                                  \
    }                                                                 \
    enum action now = due(takes_space);                               \
    if (now == ERROR) {                                               \
        result = -1, errno = action_error;                            \
    } else {                                                          \
        errno = kept;                                                 \
        result = call;                                                \
    }                                                                 \
    kept = errno;                                                     \
    note;                                                             \
    finish(now);                                                      \
    pthread_mutex_unlock(&lock);                                      \
    errno = kept;                                                     \
    return result;

/* Opening: counts where it may make or cut a file. The log's length says what it did: 1 a new
 * file, 2 an old one cut to nothing, 3 both asked for and neither done. */
#define OPENED(name, folder)                                                                     \
    log_call(name, result, kept, result < 0 ? 0 : inode_of(result), 0,                           \
             result < 0 ? 0 : !existed ? 1 : flags & O_TRUNC ? 2 : 3, path_, "", "", 0)
#define OPEN(folder, call)                                                                       \
    mode_t mode = 0;                                                                             \
    if (flags & (O_CREAT | __O_TMPFILE)) {                                                       \
        va_list list;                                                                            \
        va_start(list, flags);                                                                   \
        mode = va_arg(list, mode_t);                                                             \
        va_end(list);                                                                            \
    }                                                                                            \
    char path_[PATH_MAX];                                                                        \
    int existed = 0;                                                                             \
    WRAP(int,                                                                                    \
         (flags & (O_CREAT | O_TRUNC)) && (whole_path(folder, path, path_), beneath(path_)) &&   \
             (existed = !access(path_, F_OK), 1),                                                \
         !existed, call, OPENED("open", folder))

int open(const char *path, int flags, ...) { OPEN(AT_FDCWD, REAL(open, path, flags, mode)) }
int open64(const char *path, int flags, ...) { OPEN(AT_FDCWD, REAL(open64, path, flags, mode)) }
int openat(int folder, const char *path, int flags, ...) {
    OPEN(folder, REAL(openat, folder, path, flags, mode))
}
int openat64(int folder, const char *path, int flags, ...) {
    OPEN(folder, REAL(openat64, folder, path, flags, mode))
}
int creat(const char *path, mode_t mode) { return open(path, O_CREAT | O_WRONLY | O_TRUNC, mode); }

/* Bytes: where they go is asked for before, since a write moves the file's own place. */
#define WRITE(name, place, size_, call, half, data, length_)                                     \
    char path_[PATH_MAX];                                                                        \
    int64_t offset_ = 0;                                                                         \
    size_t size = size_;                                                                         \
    WRAP(ssize_t, path_of(file, path_) && (offset_ = (place), 1), 1,                             \
         (armed && now_short(at, count, action)) ? half : call,                                \
         log_call(name, result, kept, inode_of(file), offset_, size, path_, "", data,            \
                  result > 0 ? (size_t)result : 0))

static int now_short(long at, long count, enum action action) {
    return at && at == count && (action == HALF || action == SHORT);
}

static int64_t place_of(int file) {
    int flags = fcntl(file, F_GETFL);
    return lseek(file, 0, flags & O_APPEND ? SEEK_END : SEEK_CUR);
}

ssize_t write(int file, const void *data, size_t bytes) {
    WRITE("write", place_of(file), bytes, REAL(write, file, data, size),
          REAL(write, file, data, (size + 1) / 2), data, bytes)
}
ssize_t pwrite(int file, const void *data, size_t bytes, off_t offset) {
    WRITE("write", offset, bytes, REAL(pwrite, file, data, size, offset),
          REAL(pwrite, file, data, (size + 1) / 2, offset), data, bytes)
}
ssize_t pwrite64(int file, const void *data, size_t bytes, off64_t offset) {
    WRITE("write", offset, bytes, REAL(pwrite64, file, data, size, offset),
          REAL(pwrite64, file, data, (size + 1) / 2, offset), data, bytes)
}

/* Of several buffers the first alone is given on: a short write, as the system may make one. */
ssize_t writev(int file, const struct iovec *parts, int number) {
    char path_[PATH_MAX];
    if (!armed || number < 1 || !path_of(file, path_)) return REAL(writev, file, parts, number);
    return write(file, parts[0].iov_base, parts[0].iov_len);
}
ssize_t pwritev(int file, const struct iovec *parts, int number, off_t offset) {
    char path_[PATH_MAX];
    if (!armed || number < 1 || !path_of(file, path_))
        return REAL(pwritev, file, parts, number, offset);
    return pwrite(file, parts[0].iov_base, parts[0].iov_len, offset);
}
ssize_t pwritev64(int file, const struct iovec *parts, int number, off64_t offset) {
    return pwritev(file, parts, number, offset);
}

/* Copies within the kernel: what was written is read back for the log. */
static void log_copy(int64_t result, int error, int file, int64_t offset, int64_t length,
                     const char *path) {
    char link[64], *bytes = malloc(result > 0 ? result : 1);
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    int again = REAL(open, link, O_RDONLY | O_CLOEXEC);
    ssize_t n = bytes && result > 0 ? pread(again, bytes, result, offset) : 0;
    log_call("write", result, error, inode_of(file), offset, length, path, "", bytes,
             n > 0 ? n : 0);
    close(again);
    free(bytes);
}

#define COPY(place, call, half)                                                                  \
    char path_[PATH_MAX];                                                                        \
    int64_t offset_ = 0;                                                                         \
    WRAP(ssize_t, path_of(file, path_) && (offset_ = (place), 1), 1,                             \
         (armed && now_short(at, count, action)) ? half : call,                                  \
         log_copy(result, kept, file, offset_, size, path_))

ssize_t copy_file_range(int in, off64_t *from, int file, off64_t *to, size_t size, unsigned flags) {
    COPY(to ? *to : place_of(file), REAL(copy_file_range, in, from, file, to, size, flags),
         REAL(copy_file_range, in, from, file, to, (size + 1) / 2, flags))
}
ssize_t sendfile(int file, int in, off_t *from, size_t size) {
    COPY(place_of(file), REAL(sendfile, file, in, from, size),
         REAL(sendfile, file, in, from, (size + 1) / 2))
}
ssize_t sendfile64(int file, int in, off64_t *from, size_t size) {
    COPY(place_of(file), REAL(sendfile64, file, in, from, size),
         REAL(sendfile64, file, in, from, (size + 1) / 2))
}

/* Reflinks: as on a file system without them, so that bytes are written. */
int ioctl(int file, unsigned long request, ...) {
    char path_[PATH_MAX];
    va_list list;
    va_start(list, request);
    void *argument = va_arg(list, void *);
    va_end(list);
    if (armed && (request == FICLONE || request == FICLONERANGE) && path_of(file, path_))
        return errno = EOPNOTSUPP, -1;
    return REAL(ioctl, file, request, argument);
}

#define OF_FILE(name, space, call, size)                                                         \
    char path_[PATH_MAX];                                                                        \
    WRAP(int, path_of(file, path_), space, call,                                                 \
         log_call(name, result, kept, inode_of(file), 0, size, path_, "", "", 0))

int fsync(int file) { OF_FILE("fsync", 0, REAL(fsync, file), 0) }
int fdatasync(int file) { OF_FILE("fsync", 0, REAL(fdatasync, file), 0) }
int ftruncate(int file, off_t size) { OF_FILE("truncate", 1, REAL(ftruncate, file, size), size) }
int ftruncate64(int file, off64_t size) {
    OF_FILE("truncate", 1, REAL(ftruncate64, file, size), size)
}
int truncate(const char *path, off_t size) {
    int file = REAL(open, path, O_WRONLY | O_CLOEXEC);
    if (file < 0) return -1;
    int result = ftruncate(file, size);
    close(file);
    return result;
}
int fallocate(int file, int mode, off_t offset, off_t size) {
    char path_[PATH_MAX];
    /* As a file system without it: callers write zeros, which the log can hold. */
    if (armed && path_of(file, path_)) return errno = EOPNOTSUPP, -1;
    return REAL(fallocate, file, mode, offset, size);
}
int posix_fallocate(int file, off_t offset, off_t size) {
    char path_[PATH_MAX];
    if (armed && path_of(file, path_)) {
        struct stat state;
        if (fstat(file, &state)) return errno;
        return offset + size > state.st_size && ftruncate(file, offset + size) ? errno : 0;
    }
    return REAL(posix_fallocate, file, offset, size);
}
int posix_fallocate64(int file, off64_t offset, off64_t size) {
    return posix_fallocate(file, offset, size);
}

#define OF_PATH(name, folder, path, space, call)                                                 \
    char path_[PATH_MAX];                                                                        \
    WRAP(int, (whole_path(folder, path, path_), beneath(path_)), space, call,                    \
         log_call(name, result, kept, 0, 0, 0, path_, "", "", 0))

int unlink(const char *path) { OF_PATH("unlink", AT_FDCWD, path, 0, REAL(unlink, path)) }
int unlinkat(int folder, const char *path, int flags) {
    OF_PATH("unlink", folder, path, 0, REAL(unlinkat, folder, path, flags))
}
int rmdir(const char *path) { OF_PATH("rmdir", AT_FDCWD, path, 0, REAL(rmdir, path)) }
int mkdir(const char *path, mode_t mode) {
    OF_PATH("mkdir", AT_FDCWD, path, 1, REAL(mkdir, path, mode))
}
int mkdirat(int folder, const char *path, mode_t mode) {
    OF_PATH("mkdir", folder, path, 1, REAL(mkdirat, folder, path, mode))
}

#define OF_TWO(name, from, path, to, target, space, call)                                        \
    char path_[PATH_MAX], target_[PATH_MAX];                                                     \
    WRAP(int,                                                                                    \
         (whole_path(from, path, path_), whole_path(to, target, target_),                        \
          beneath(path_) || beneath(target_)),                                                   \
         space, call, log_call(name, result, kept, 0, 0, 0, path_, target_, "", 0))

int rename(const char *path, const char *target) {
    OF_TWO("rename", AT_FDCWD, path, AT_FDCWD, target, 0, REAL(rename, path, target))
}
int renameat(int from, const char *path, int to, const char *target) {
    OF_TWO("rename", from, path, to, target, 0, REAL(renameat, from, path, to, target))
}
int renameat2(int from, const char *path, int to, const char *target, unsigned flags) {
    OF_TWO(flags & RENAME_EXCHANGE ? "exchange" : "rename", from, path, to, target, 0,
           REAL(renameat2, from, path, to, target, flags))
}
int link(const char *path, const char *target) {
    OF_TWO("link", AT_FDCWD, path, AT_FDCWD, target, 1, REAL(link, path, target))
}
int linkat(int from, const char *path, int to, const char *target, int flags) {
    OF_TWO("link", from, path, to, target, 1, REAL(linkat, from, path, to, target, flags))
}

/* A shared map that may be written to is a way around all this: the log says that there was one. */
#define MAPPED(call)                                                                             \
    char path_[PATH_MAX];                                                                        \
    if (armed && file >= 0 && (flags & MAP_SHARED) && (protection & PROT_WRITE) &&               \
        path_of(file, path_)) {                                                                  \
        pthread_mutex_lock(&lock);                                                               \
        log_call("map", 0, 0, inode_of(file), 0, 0, path_, "", "", 0);                           \
        pthread_mutex_unlock(&lock);                                                             \
    }                                                                                            \
    return call;

void *mmap(void *place, size_t size, int protection, int flags, int file, off_t offset) {
    MAPPED(REAL(mmap, place, size, protection, flags, file, offset))
}
void *mmap64(void *place, size_t size, int protection, int flags, int file, off64_t offset) {
    MAPPED(REAL(mmap64, place, size, protection, flags, file, offset))
}
