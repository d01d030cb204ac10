/* SPDX-License-Identifier: MIT */
/*
 * Inventories: a line for each chip and TCB.
 *
 *     Milan 3ac3fe21… 3.0.8.115                       blanks, commas or semicolons between
 *     "Milan","3AC3FE21…","03.00.08.115"              as a table's export has it
 *     host,product,chip_id,tcb                        a line that names columns: then they count
 *     https://kdsintf.amd.com/vcek/v1/Milan/3ac3…?…   what "snphost show vcek-url" prints
 *
 * What is behind # is a comment. Lines end in LF or CRLF, and the byte order mark of UTF-8 is
 * passed over. One wrong line refuses the whole list, by its number: a host that is left out by
 * mistake is noticed on the day of its update.
 */
#include "lib/inventory.h"
#include "lib/ctl.h"
#include "lib/memory.h"
#include "lib/terminal.h"
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define TARGETS_MAX 100000u
#define LINE_SIZE   1024
#define WORDS_MAX   64u

static const char blanks[] = " \t\r\n";

/* --- lines ------------------------------------------------------------------------------------ */

/* Where a line has them: in the first three words, where no line named columns. */
struct columns {
    char separator; /* 0: no line did */
    size_t at[3];   /* product, chip id, TCB */
};

static bool is_one_of(const char *word, const char *const *names)
{
    for (; *names; names++)
        if (strcasecmp(word, *names) == 0)
            return true;
    return false;
}

/* Without blanks and quotes around. */
static char *bare(char *word)
{
    word += strspn(word, blanks);
    size_t n = strlen(word);
    while (n > 0 && strchr(blanks, word[n - 1]))
        n--;
    if (n >= 2 && (word[0] == '"' || word[0] == '\'') && word[n - 1] == word[0]) {
        word++;
        n -= 2;
    }
    word[n] = 0;
    return word;
}

/* Words between these characters; where `each`, also those that are empty. */
static size_t split(char *text, const char *separators, bool each, char *words[WORDS_MAX])
{
    size_t n = 0;

    while (n < WORDS_MAX) {
        if (!each)
            text += strspn(text, separators);
        if (!each && !*text)
            break;
        size_t length = strcspn(text, separators), before = strspn(text, " ");
        const char *quote = text[before] == '"' ? strchr(text + before + 1, '"') : NULL;
        if (each && quote) /* which may have separators in it */
            length = (size_t)(quote - text) + strcspn(quote, separators);
        bool last = text[length] == 0;
        text[length] = 0;
        words[n++] = bare(text);
        if (last)
            break;
        text += length + 1;
    }
    return n;
}

/* Is it a line that names columns? */
static bool read_columns(const char *line, struct columns *ret)
{
    static const char *const names[3][8] = {{"product", "prod", "cpu", "processor"},
                                            {"chip_id", "chip-id", "chip id", "chipid", "hwid",
                                             "hw_id", "chip"},
                                            {"tcb", "tcb_version", "reported_tcb", "reported tcb"}};
    struct columns columns = {.separator = ' '};
    char text[LINE_SIZE], separators[2] = "", *words[WORDS_MAX];
    bool has[3] = {false};

    for (const char *p = ",;\t"; *p && columns.separator == ' '; p++)
        if (strchr(line, *p))
            columns.separator = *p;
    separators[0] = columns.separator;
    (void)snprintf(text, sizeof(text), "%s", line);
    size_t n = split(text, separators, columns.separator != ' ', words);
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < 3; k++)
            if (!has[k] && is_one_of(words[i], names[k])) {
                has[k] = true;
                columns.at[k] = i;
                break;
            }
    if (!has[0] || !has[1] || !has[2])
        return false;
    *ret = columns;
    return true;
}

/* "…/vcek/v1/PRODUCT/CHIP-ID?LEVELS" */
static int parse_url(char *text, struct kds_target *ret, struct why *why)
{
    char *product = strstr(text, "/vcek/v1/") + strlen("/vcek/v1/");
    char *chip_id = strchr(product, '/');
    char *tcb = chip_id ? strchr(chip_id, '?') : NULL;

    if (!tcb)
        return why_set(why, -EINVAL,
                       "a URL of a VCEK is /vcek/v1/PRODUCT/CHIP-ID?blSPL=…&teeSPL=…");
    *chip_id++ = 0;
    *tcb++ = 0;
    return spelled_target(product, chip_id, tcb, ret, why);
}

/* 1: a target; 0: nothing; -EINVAL: why. */
static int parse_line(char *text, struct columns *columns, bool first, struct kds_target *ret,
                      struct why *why)
{
    char separators[2] = {columns->separator, 0}, *words[WORDS_MAX];
    bool named = columns->separator != 0;
    int r;

    text[strcspn(text, "#\r\n")] = 0;
    if (text[strspn(text, " \t,;")] == 0)
        return 0;
    if (first && read_columns(text, columns))
        return 0;
    if (strstr(text, "/vcek/v1/")) {
        r = parse_url(bare(text), ret, why);
        return r < 0 ? r : 1;
    }
    size_t n = named ? split(text, separators, columns->separator != ' ', words)
                     : split(text, " \t,;", false, words);
    if (!named && n != 3)
        return why_set(why, -EINVAL, "a line has a product, a chip id and a TCB");
    const size_t *at = columns->at;
    if (at[0] >= n || at[1] >= n || at[2] >= n)
        return why_set(why, -EINVAL, "the line has fewer columns than the first, which names them");
    r = spelled_target(words[at[0]], words[at[1]], words[at[2]], ret, why);
    return r < 0 ? r : 1;
}

/* --- files ------------------------------------------------------------------------------------ */

struct inventory {
    struct kds_target *targets;
    size_t n, capacity;
};

static bool add(struct inventory *inventory, const struct kds_target *target)
{
    if (inventory->n == inventory->capacity) {
        size_t capacity = inventory->capacity ? inventory->capacity * 2 : 64;
        if (inventory->n >= TARGETS_MAX)
            return false;
        struct kds_target *larger =
            memory_got(reallocarray(inventory->targets, capacity, sizeof(*larger)));
        if (!larger)
            return false;
        inventory->targets = larger;
        inventory->capacity = capacity;
    }
    inventory->targets[inventory->n++] = *target;
    return true;
}

/* A line without what ends it, and without the mark before the first. False: there is none. */
static bool read_line(FILE *from, char text[LINE_SIZE], bool first, int *ret, struct why *why)
{
    size_t n = 0;
    int c;

    while ((c = getc(from)) != EOF && c != '\n') {
        if (c == 0)
            *ret = why_set(why, -EINVAL, "it is not plain text: save it as UTF-8");
        if (n == LINE_SIZE - 1)
            *ret = why_set(why, -EINVAL, "the line is too long");
        if (*ret < 0)
            return true;
        text[n++] = (char)c;
    }
    text[n] = 0;
    if (first && strncmp(text, "\xef\xbb\xbf", 3) == 0)
        memmove(text, text + 3, n - 2);
    return c != EOF || n > 0;
}

int inventory_read(const char *path, struct kds_target **ret, size_t *ret_n)
{
    FILE *from = fopen(path, "re");
    struct inventory inventory = {0};
    struct columns columns = {.at = {0, 1, 2}};
    char text[LINE_SIZE];
    struct why why;
    struct kds_target target;
    unsigned number = 1;
    bool begun = false; /* a line was there that is neither empty nor a comment */
    int code = CTL_OK, r = 0;

    if (!from && errno == ENOMEM)
        return memory_out();
    if (!from) {
        term_error("cannot read %s: %s", path, strerror(errno));
        return CTL_FAILED;
    }
    for (; code == CTL_OK && read_line(from, text, number == 1, &r, &why); number++) {
        bool empty = text[strspn(text, " \t\r,;")] == 0 || text[strspn(text, " \t")] == '#';
        if (r == 0)
            r = parse_line(text, &columns, !begun, &target, &why);
        begun = begun || !empty;
        if (r < 0) {
            term_error("%s, line %u: %s", path, number, why.text);
            code = CTL_USAGE;
        } else if (r > 0 && !add(&inventory, &target)) {
            if (!memory_ran_out())
                term_error("%s has too many lines", path);
            code = CTL_FAILED;
        }
        r = 0;
    }
    if (code == CTL_OK && ferror(from)) {
        term_error("cannot read %s: %s", path, strerror(errno));
        code = CTL_FAILED;
    }
    (void)fclose(from);
    if (code != CTL_OK) {
        free(inventory.targets);
        return code;
    }
    *ret = inventory.targets;
    *ret_n = inventory.n;
    return CTL_OK;
}
