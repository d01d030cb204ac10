/* SPDX-License-Identifier: MIT */
/*
 * The table of methods is the interface's description: the same methods, in the same order, with
 * the same parameters.
 */
#include "admin/parts.h"
#include "support.h"

/* From "name: type, name: type)" the names alone, with a space between; types may hold commas and
 * parentheses of their own. Returns behind the closing one. */
static const char *parameter_names(const char *text, char *out, size_t size)
{
    size_t used = 0;
    int depth = 0;
    bool name = true;

    for (; depth > 0 || *text != ')'; text++) {
        ck_assert_int_ne(*text, 0);
        depth += *text == '(';
        depth -= *text == ')';
        if (depth > 0)
            continue;
        if (*text == ',')
            name = true;
        else if (*text == ':')
            name = false;
        if (!name || *text == ' ' || *text == '\n')
            continue;
        ck_assert_uint_lt(used + 2, size);
        out[used++] = *text == ',' ? ' ' : *text;
    }
    out[used] = 0;
    return text + 1;
}

TEST(the_table_is_what_the_description_says)
{
    size_t n, size, i = 2; /* behind those of org.varlink.service */
    const struct admin_method *methods = admin_methods(&n);
    uint8_t *file = test_read_file("proto/io.cocod.Admin.varlink", &size);
    const char *text = (const char *)file;

    while ((text = strstr(text, "\nmethod "))) {
        char name[128], names[256];
        text += strlen("\nmethod ");
        int length = (int)strcspn(text, "(");
        snprintf(name, sizeof(name), ADMIN_INTERFACE ".%.*s", length, text);
        text = parameter_names(text + length + 1, names, sizeof(names));
        ck_assert_msg(i < n, "%s is not in the table", name);
        ck_assert_str_eq(methods[i].name, name);
        ck_assert_str_eq(methods[i].parameters, names);
        i++;
    }
    ck_assert_msg(i == n, "%s is not in the description", i < n ? methods[i].name : "");
    free(file);
}

TEST(each_row_is_whole)
{
    size_t n;
    const struct admin_method *methods = admin_methods(&n);

    for (size_t i = 0; i < n; i++) {
        ck_assert_ptr_nonnull(methods[i].handle);
        ck_assert_int_ge(methods[i].role, i < 2 ? ADMIN_ROLE_NONE : ADMIN_ROLE_READ);
        ck_assert_int_le(methods[i].role, ADMIN_ROLE_OPERATE);
        ck_assert_ptr_eq(admin_method_find(methods[i].name), &methods[i]);
    }
    ck_assert_ptr_null(admin_method_find(""));
    ck_assert_ptr_null(admin_method_find("io.cocod.Admin"));
}

TEST(a_parameter_is_found_by_its_whole_name)
{
    const struct admin_method *method = admin_method_find("io.cocod.Admin.Preflight");

    ck_assert(admin_method_takes(method, "tcb"));
    ck_assert(admin_method_takes(method, "chipId"));
    ck_assert(admin_method_takes(method, "signer"));
    ck_assert(!admin_method_takes(method, ""));
    ck_assert(!admin_method_takes(method, "chip"));
    ck_assert(!admin_method_takes(method, "tcb product"));
    ck_assert(!admin_method_takes(method, "signers"));
    ck_assert(!admin_method_takes(admin_method_find("io.cocod.Admin.GetStatus"), "tcb"));
}
