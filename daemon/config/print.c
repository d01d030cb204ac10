/* SPDX-License-Identifier: MIT */
/*
 * What the table of keys looks like to people: the values in force, the commented example file, the
 * manual's reference.
 *
 * All three walk the table in its order, and print a section's head where the section changes.
 * Lines of prose are wrapped at 96 columns. The text in scdoc's syntax escapes what scdoc would
 * take as markup.
 */
#include "base/prose.h"
#include "config/value.h"
#include "text.h"

#include <errno.h>
#include <openssl/evp.h>
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

static bool starts_section(const struct config_key *keys, size_t i)
{
    return i == 0 || strcmp(keys[i].section, keys[i - 1].section) != 0;
}

static int finish(FILE *out)
{
    return fflush(out) != 0 || ferror(out) ? -EIO : 0;
}

int config_hash(const struct config *c, char out[CONFIG_HASH_SIZE])
{
    size_t n = 0, length = 0;
    const struct config_key *keys = config_keys(&n);
    unsigned char digest[EVP_MAX_MD_SIZE];
    EVP_MD_CTX *md = EVP_MD_CTX_new();
    char value[CONFIG_VALUE_SIZE];
    bool ok = md && EVP_DigestInit_ex(md, EVP_sha256(), NULL);

    for (size_t i = 0; i < n && ok; i++) {
        ok = EVP_DigestUpdate(md, keys[i].section, strlen(keys[i].section) + 1) &&
             EVP_DigestUpdate(md, keys[i].name, strlen(keys[i].name) + 1);
        for (size_t item = 0; ok; item++) {
            if (config_value_text(c, &keys[i], item, value, sizeof(value)) < 0)
                break;
            ok = EVP_DigestUpdate(md, value, strlen(value) + 1);
        }
    }
    ok = ok && EVP_DigestFinal_ex(md, digest, NULL);
    EVP_MD_CTX_free(md);
    if (!ok)
        return -ENOMEM;
    for (size_t i = 0; i < (CONFIG_HASH_SIZE - 1) / 2; i++)
        length += (size_t)snprintf(out + length, CONFIG_HASH_SIZE - length, "%02x", digest[i]);
    return 0;
}

int config_print(const struct config *c, FILE *out)
{
    size_t n = 0;
    const struct config_key *keys = config_keys(&n);
    char value[CONFIG_VALUE_SIZE];
    char file[512];
    struct config_origin origin;

    for (size_t i = 0; i < n; i++) {
        if (starts_section(keys, i))
            (void)fprintf(out, "%s[%s]\n", i > 0 ? "\n" : "", keys[i].section);
        for (size_t item = 0;; item++) {
            int length = config_value_text(c, &keys[i], item, value, sizeof(value));
            if (length < 0 && item > 0)
                break;
            (void)fprintf(out, "%s =%s%s  ; ", keys[i].name, length > 0 ? " " : "",
                          length > 0 ? value : "");
            if (config_item_origin(c, &keys[i], item, &origin)) {
                coco_text_escape(file, sizeof(file), origin.file, strlen(origin.file));
                (void)fprintf(out, "%s:%u\n", file, origin.line);
            } else {
                (void)fprintf(out, "default\n");
            }
        }
    }
    return finish(out);
}

int config_print_example(FILE *out)
{
    size_t n = 0;
    const struct config_key *keys = config_keys(&n);
    const struct page page = {.out = out, .indent = "# "};

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
    for (size_t i = 0; i < n; i++) {
        if (starts_section(keys, i)) {
            (void)fputs("\n", out);
            prose_print(out, "# ", config_section_doc(keys[i].section));
            (void)fprintf(out, "[%s]\n", keys[i].section);
        }
        (void)fputs("\n", out);
        print_about(&page, &keys[i]);
        (void)fprintf(out, "#%s =%s%s\n", keys[i].name, keys[i].default_value[0] ? " " : "",
                      keys[i].default_value);
    }
    return finish(out);
}

int config_print_reference(FILE *out)
{
    size_t n = 0;
    const struct config_key *keys = config_keys(&n);
    const struct page flush = {.out = out, .indent = "", .scdoc = true};
    const struct page indented = {.out = out, .indent = "\t", .scdoc = true};
    char name[128], value[128];

    for (size_t i = 0; i < n; i++) {
        if (starts_section(keys, i)) {
            (void)fprintf(out, "%s## [%s]\n\n", i > 0 ? "\n" : "", keys[i].section);
            print_text(&flush, "", config_section_doc(keys[i].section), "");
        }
        escape_scdoc(name, sizeof(name), keys[i].name);
        escape_scdoc(value, sizeof(value), keys[i].default_value);
        (void)fprintf(out, "\n*%s* = %s\n", name, value[0] ? value : "(empty)");
        print_about(&indented, &keys[i]);
    }
    return finish(out);
}
