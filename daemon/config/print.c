/* SPDX-License-Identifier: MIT */
/*
 * The table of keys as text: values in force, the commented example file, the manual's reference.
 * All walk the table in its order, and print a section's head where the section changes.
 */
#include "base/prose.h"
#include "composed.h"
#include "config/value.h"
#include "text.h"

#include <errno.h>
#include <openssl/evp.h>
#include <openssl/sha.h>
#include <stdlib.h>
#include <string.h>

/* How prose is printed. */
struct page {
    FILE *out;
    const char *indent; /* of each line */
    bool scdoc;
};

/* Doubles as the escape for scdoc: a backslash before what it would take as markup. */
static void escape_scdoc(char *out, size_t out_size, const char *in)
{
    size_t used = 0;

    for (; *in != '\0' && used + 2 < out_size; in++) {
        if (strchr("\\*_[]", *in))
            out[used++] = '\\';
        out[used++] = *in;
    }
    out[used] = '\0';
}

/* `head` and `tail` are as they are to be printed; the text is escaped where it must be. */
static void print_text(const struct page *page, const char *head, const char *text,
                       const char *tail)
{
    char escaped[1024], line[1280];

    if (page->scdoc)
        escape_scdoc(escaped, sizeof(escaped), text);
    (void)snprintf(line, sizeof(line), "%s%s%s", head, page->scdoc ? escaped : text, tail);
    prose_print(page->out, page->indent, line);
}

/* What a key is for, what it may be and, of a choice, what each means. */
static void print_about(const struct page *page, const struct config_key *key)
{
    const char *star = page->scdoc ? "*" : "";
    char allowed[256], head[64];

    config_value_allowed(key, allowed, sizeof(allowed));
    print_text(page, "", key->doc, "");
    print_text(page, "Allowed: ", allowed, ".");
    for (const struct config_choice *p = key->choices; p && p->doc; p++) {
        (void)snprintf(head, sizeof(head), "%s%s%s: ", star, p->name, star);
        print_text(page, head, p->doc, ".");
    }
}

static int finish(FILE *out)
{
    return fflush(out) != 0 || ferror(out) ? -EIO : 0;
}

/* Does another section start with this key? */
static bool starts_section(const char **section, const struct config_key *key)
{
    bool starts = strcmp(*section, key->section) != 0;

    *section = key->section;
    return starts;
}

static void print_origin(const struct config_origin *origin, FILE *out)
{
    const char *from = origin ? origin->file : "default";
    char file[512];

    coco_text_escape(file, sizeof(file), from, strlen(from));
    (void)fprintf(out, "  ; %s", file);
    if (origin)
        (void)fprintf(out, ":%u", origin->line);
}

void config_print_values(const struct config *c, bool all, bool origins, FILE *out)
{
    const char *section = "";
    char value[CONFIG_VALUE_SIZE];

    for (const struct config_key *key = config_keys(NULL); key->section; key++) {
        const char *before = section;
        if (!all && !config_find_origin(c, key, 0))
            continue;
        if (starts_section(&section, key))
            (void)fprintf(out, "%s[%s]\n", before[0] ? "\n" : "", section);
        for (size_t item = 0;; item++) {
            int length = config_value_text(c, key, item, value, sizeof(value));
            if (length < 0 && item > 0)
                break;
            (void)fprintf(out, "%s =%s%s", key->name, length > 0 ? " " : "",
                          length > 0 ? value : "");
            if (origins)
                print_origin(config_find_origin(c, key, item), out);
            (void)fputc('\n', out);
        }
    }
}

int config_hash(const struct config *c, char out[CONFIG_HASH_SIZE])
{
    unsigned char digest[SHA256_DIGEST_LENGTH];
    struct composed text;

    if (!composed_begin(&text))
        return -ENOMEM;
    config_print_values(c, true, false, text.to);
    if (!composed_end(&text))
        return -ENOMEM;
    bool ok = EVP_Digest(text.text, text.size, digest, NULL, EVP_sha256(), NULL);
    free(text.text);
    for (size_t i = 0; ok && i < (CONFIG_HASH_SIZE - 1) / 2; i++)
        (void)snprintf(out + 2 * i, 3, "%02x", digest[i]);
    return ok ? 0 : -ENOMEM;
}

int config_print(const struct config *c, FILE *out)
{
    config_print_values(c, true, true, out);
    return finish(out);
}

int config_print_example(FILE *out)
{
    const struct page page = {.out = out, .indent = "# "};
    const char *section = "";

    prose_print(out, "# ",
                "Configuration of cocod. Every key stands here at its default, commented out.");
    (void)fputs("#\n", out);
    prose_print(
        out, "# ",
        "The form: [section], then key = value, each on a line of its own. Comments are lines "
        "that start with # or ;, and what follows a space and ; behind a value. A line is at "
        "most 197 bytes long. A key may be set once in a file; those that hold a list may be "
        "repeated, and an empty value takes away what was before. Unknown sections and keys are "
        "mistakes. Files in cocod.conf.d/ beside this one are read after it: cocod.conf(5).");
    (void)fputs("#\n", out);
    prose_print(out, "# ",
                "cocod --check FILE names all mistakes in FILE and shows the values in force.");
    for (const struct config_key *key = config_keys(NULL); key->section; key++) {
        if (starts_section(&section, key)) {
            (void)fputs("\n", out);
            prose_print(out, "# ", config_section_doc(section));
            (void)fprintf(out, "[%s]\n", section);
        }
        (void)fputs("\n", out);
        print_about(&page, key);
        (void)fprintf(out, "#%s =%s%s\n", key->name, key->default_value[0] ? " " : "",
                      key->default_value);
    }
    return finish(out);
}

int config_print_reference(FILE *out)
{
    const struct page flush = {.out = out, .indent = "", .scdoc = true};
    const struct page indented = {.out = out, .indent = "\t", .scdoc = true};
    const char *section = "";
    char name[128], value[128];

    for (const struct config_key *key = config_keys(NULL); key->section; key++) {
        const char *before = section;
        if (starts_section(&section, key)) {
            (void)fprintf(out, "%s## [%s]\n\n", before[0] ? "\n" : "", section);
            print_text(&flush, "", config_section_doc(section), "");
        }
        escape_scdoc(name, sizeof(name), key->name);
        escape_scdoc(value, sizeof(value), key->default_value);
        (void)fprintf(out, "\n*%s* = %s\n", name, value[0] ? value : "(empty)");
        print_about(&indented, key);
    }
    return finish(out);
}
