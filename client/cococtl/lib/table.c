/* SPDX-License-Identifier: MIT */
/*
 * The table file, as root opens it.
 *
 * A rotation locks that file, empties it, and leaves it open in a command that runs as root. So
 * cocod does not say which file that is: the command line does, or cocod's configuration where only
 * root could have written it, or it is the default. What cocod says is held against that, since
 * another file would exclude nobody.
 *
 * The file must be one that cocod could have written itself: its owner is the user who answers at
 * the administrative socket, as the kernel vouches for it (not SO_PEERCRED, which names who
 * listened first: systemd). It has no second name, and only root and that user make names in its
 * folder. So a cocod in an enemy's hands gets nothing from this that it has not.
 *
 * A look at a file changes nothing (O_PATH: no device is opened, no FIFO is waited for). It is
 * opened for writing by what was looked at, not by its name again.
 */
#include "lib/table.h"
#include "coco_limits.h"
#include "lib/conf.h"
#include "lib/ctl.h"
#include "lib/terminal.h"
#include "snp_table.h"
#include "why.h"
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Could it be cocod's? 0, or -EINVAL and why not. */
static int check_file(const struct stat *st, uid_t cocod, struct why *why)
{
    if (!S_ISREG(st->st_mode))
        return why_set(why, -EINVAL, "it is not a regular file");
    if (st->st_uid != cocod)
        return why_set(why, -EINVAL, "it is not owned by the user who answers for cocod");
    if (st->st_nlink != 1)
        return why_set(why, -EINVAL, "it has another name, too (a hard link)");
    return 0;
}

static int check_folder(const struct stat *st, uid_t cocod, struct why *why)
{
    if (st->st_uid != 0 && st->st_uid != cocod)
        return why_set(why, -EINVAL, "its folder is neither root's nor cocod's");
    if (st->st_mode & 022)
        return why_set(why, -EINVAL, "others may make files in its folder");
    return 0;
}

/* A descriptor for writing on the file of that name in the folder. Negative errno; or -EINVAL and
 * why not. */
static int open_in(int folder, const char *name, uid_t cocod, struct why *why)
{
    char path[64];
    struct stat st;

    int seen = openat(folder, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    if (seen < 0)
        return -errno;
    int r = fstat(seen, &st) < 0 ? -errno : check_file(&st, cocod, why);
    if (r == 0) {
        (void)snprintf(path, sizeof(path), "/proc/self/fd/%d", seen);
        r = open(path, O_RDWR | O_CLOEXEC);
        r = r < 0 ? -errno : r;
    }
    close(seen);
    return r;
}

static int open_checked(const char *file, uid_t cocod, struct why *why)
{
    char folder_copy[PATH_MAX], name_copy[PATH_MAX];
    struct stat st;

    if (strlen(file) >= PATH_MAX)
        return -ENAMETOOLONG;
    (void)snprintf(folder_copy, sizeof(folder_copy), "%s", file);
    (void)snprintf(name_copy, sizeof(name_copy), "%s", file);
    int folder = open(dirname(folder_copy), O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (folder < 0)
        return -errno;
    int r = fstat(folder, &st) < 0 ? -errno : check_folder(&st, cocod, why);
    if (r == 0)
        r = open_in(folder, basename(name_copy), cocod, why);
    close(folder);
    return r;
}

int table_open(const struct ctl *ctl, const char *told, uid_t cocod, int *ret_fd)
{
    char file[PATH_MAX] = CTL_TABLE_FILE;
    struct why why = {.text = ""};

    if (ctl->table_file)
        (void)snprintf(file, sizeof(file), "%s", ctl->table_file);
    else if (!conf_certs_path(conf_dirs, CONF_DIRS, "table_file", file))
        return CTL_FAILED;
    if (strcmp(file, told) != 0) {
        term_error("cocod says that its table file is %s, and %s says %s; nothing was changed",
                   told, ctl->table_file ? "--table-file" : "its configuration", file);
        term_hint("Which file root empties is not cocod's to say. Where its configuration was "
                  "changed, restart cocod; where it has another one, name its file with "
                  "--table-file.");
        return CTL_FAILED;
    }
    int fd = open_checked(file, cocod, &why);
    if (fd >= 0) {
        *ret_fd = fd;
        return CTL_OK;
    }
    if (why.text[0]) {
        term_error("%s is not taken for cocod's table file: %s; nothing was changed", file,
                   why.text);
        term_hint("cocod makes the file when it starts. Find out who put this there.");
        return CTL_FAILED;
    }
    term_error("cannot open the table file %s for writing: %s; nothing was changed", file,
               strerror(-fd));
    if (fd == -EACCES || fd == -EPERM)
        term_hint("Run this as root.");
    else
        term_hint("cocod makes the file when it starts: restart it where the file is gone.");
    return fd == -EACCES || fd == -EPERM ? CTL_DENIED : CTL_FAILED;
}

bool table_holds_one(int fd)
{
    uint8_t bytes[COCO_SNP_TABLE_MAX + 1];
    struct coco_snp_table table;
    ssize_t n;

    do {
        n = pread(fd, bytes, sizeof(bytes), 0);
    } while (n < 0 && errno == EINTR);
    if (n <= 0)
        return n == 0;
    return (size_t)n <= COCO_SNP_TABLE_MAX && coco_snp_table_decode(bytes, (size_t)n, &table) == 0;
}
