/* SPDX-License-Identifier: MIT */
/*
 * The table of methods: everything that a caller can name, who may call it, and what it takes. The
 * dispatcher goes by this table alone, and a test compares it with the interface's description. A
 * row's handler gets only the parameters that the row names, and checks their types.
 *
 * The two methods that every varlink service has are here as well.
 */
#include "admin/parts.h"
#include "admin_varlink.h"
#include "coco_limits.h"
#include <string.h>

/* --- org.varlink.service ---------------------------------------------------------------------- */

static const char service_description[] =
    "# The Varlink Service Interface is provided by every varlink service.\n"
    "interface org.varlink.service\n\n"
    "method GetInfo() -> (vendor: string, product: string, version: string, url: string, "
    "interfaces: []string)\n\n"
    "method GetInterfaceDescription(interface: string) -> (description: string)\n\n"
    "error InterfaceNotFound (interface: string)\n\n"
    "error MethodNotFound (method: string)\n\n"
    "error MethodNotImplemented (method: string)\n\n"
    "error InvalidParameter (parameter: string)\n\n"
    "error PermissionDenied ()\n\n"
    "error ExpectedMore ()\n";

static void get_info(const struct call *call)
{
    struct json_object *object = json_object_new_object();
    struct json_object *interfaces = json_object_new_array();

    json_append(interfaces, json_object_new_string(ADMIN_VARLINK));
    json_append(interfaces, json_object_new_string(ADMIN_INTERFACE));
    admin_add_text(object, "vendor", "cocod");
    admin_add_text(object, "product", "cocod");
    admin_add_text(object, "version", COCO_VERSION_STRING);
    admin_add_text(object, "url", "");
    json_set(object, "interfaces", interfaces);
    admin_send_parameters(call, object);
}

static void get_interface_description(const struct call *call)
{
    const char *interface = admin_string(admin_parameter(call, "interface"));
    const char *text = NULL;

    if (!interface) {
        admin_refuse_parameter(call, "interface");
        return;
    }
    if (strcmp(interface, ADMIN_INTERFACE) == 0)
        text = admin_varlink;
    else if (strcmp(interface, ADMIN_VARLINK) == 0)
        text = service_description;
    if (!text) {
        admin_send_error(call, ADMIN_VARLINK ".InterfaceNotFound", "interface", interface);
        return;
    }
    struct json_object *object = json_object_new_object();
    json_set(object, "description", json_object_new_string(text));
    admin_send_parameters(call, object);
}

/* --- the table -------------------------------------------------------------------------------- */

/* In the order of the interface's description. */
static const struct admin_method methods[] = {
    {ADMIN_VARLINK ".GetInfo", ADMIN_ROLE_NONE, "", get_info},
    {ADMIN_VARLINK ".GetInterfaceDescription", ADMIN_ROLE_NONE, "interface",
     get_interface_description},
    {ADMIN_INTERFACE ".GetStatus", ADMIN_ROLE_READ, "", admin_get_status},
    {ADMIN_INTERFACE ".ListVms", ADMIN_ROLE_READ, "after", admin_list_vms},
    {ADMIN_INTERFACE ".Explain", ADMIN_ROLE_READ, "vm", admin_explain},
    {ADMIN_INTERFACE ".Disconnect", ADMIN_ROLE_OPERATE, "vm", admin_disconnect},
    {ADMIN_INTERFACE ".ListJobs", ADMIN_ROLE_READ, "", admin_list_jobs},
    {ADMIN_INTERFACE ".Diagnose", ADMIN_ROLE_READ, "", admin_diagnose},
    {ADMIN_INTERFACE ".GetLogLevel", ADMIN_ROLE_READ, "", admin_get_log_level},
    {ADMIN_INTERFACE ".SetLogLevel", ADMIN_ROLE_OPERATE, "level", admin_set_log_level},
    {ADMIN_INTERFACE ".Drain", ADMIN_ROLE_OPERATE, "", admin_set_drained},
    {ADMIN_INTERFACE ".Resume", ADMIN_ROLE_OPERATE, "", admin_set_drained},
    {ADMIN_INTERFACE ".GetMetrics", ADMIN_ROLE_READ, "", admin_get_metrics},
    {ADMIN_INTERFACE ".GetConfig", ADMIN_ROLE_READ, "", admin_get_config},
    {ADMIN_INTERFACE ".ListCertificates", ADMIN_ROLE_READ, "", admin_list_certificates},
    {ADMIN_INTERFACE ".Import", ADMIN_ROLE_IMPORT, "files", admin_import},
    {ADMIN_INTERFACE ".Verify", ADMIN_ROLE_IMPORT, "files", admin_import},
    {ADMIN_INTERFACE ".ListChains", ADMIN_ROLE_READ, "", admin_list_chains},
    {ADMIN_INTERFACE ".GetChain", ADMIN_ROLE_READ, "key", admin_get_chain},
    {ADMIN_INTERFACE ".RemoveChain", ADMIN_ROLE_OPERATE, "key", admin_remove_chain},
    {ADMIN_INTERFACE ".Preflight", ADMIN_ROLE_READ, "tcb product chipId signer", admin_preflight},
    {ADMIN_INTERFACE ".BeginUpdate", ADMIN_ROLE_OPERATE, "timeoutMs reason", admin_begin_update},
    {ADMIN_INTERFACE ".LeaseHolders", ADMIN_ROLE_READ, "", admin_lease_holders},
    {ADMIN_INTERFACE ".EndUpdate", ADMIN_ROLE_OPERATE, "forced void", admin_end_update},
    {ADMIN_INTERFACE ".GetEvents", ADMIN_ROLE_READ, "", admin_get_events},
    {ADMIN_INTERFACE ".Monitor", ADMIN_ROLE_READ, "past", admin_monitor},
};

const struct admin_method *admin_methods(size_t *ret_n)
{
    *ret_n = sizeof(methods) / sizeof(methods[0]);
    return methods;
}

const struct admin_method *admin_method_find(const char *name)
{
    for (size_t i = 0; i < sizeof(methods) / sizeof(methods[0]); i++)
        if (strcmp(methods[i].name, name) == 0)
            return &methods[i];
    return NULL;
}

bool admin_method_takes(const struct admin_method *method, const char *parameter)
{
    size_t n = strlen(parameter), length = 0;

    for (const char *p = method->parameters; n > 0 && *p; p += length + strspn(p + length, " ")) {
        length = strcspn(p, " ");
        if (length == n && memcmp(p, parameter, n) == 0)
            return true;
    }
    return false;
}
