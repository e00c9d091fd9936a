/* SPDX-License-Identifier: Apache-2.0
 * cmd/options.c -- every option of the configuration file: sections and names are Glance's where
 * Glance has the option; [glint] is what only glint has. */
#include "cmd/options.h"

#include <string.h>

#include "base/err.h"
#include "keystone/keystone.h"
#include "notify/driver.h"

#define TIB "1099511627776"

static const struct conf_option own_options[] = {
	{"DEFAULT", "bind_host", CONF_STRING, "127.0.0.1",
	 "Address to listen on. Others than loopback want [glint] allow_insecure."},
	{"DEFAULT", "bind_port", CONF_INT, "9292", "Port to listen on; 0 takes any free one.", 0, 65535},
	{"DEFAULT", "cert_file", CONF_STRING, NULL,
	 "File with the certificate of the service (PEM), and those that lead to one that clients know: speaks TLS, 1.2 "
	 "and 1.3. Read anew on SIGHUP, as are key_file and ca_file."},
	{"DEFAULT", "key_file", CONF_STRING, NULL, "File with its key (PEM); that of cert_file if unset."},
	{"DEFAULT", "ca_file", CONF_STRING, NULL,
	 "File with certificates (PEM): clients have to show one that one of these has signed. None need one if unset."},
	{"DEFAULT", "public_endpoint", CONF_STRING, NULL,
	 "URL under which clients reach the service, for the links it gives out."},
	{"DEFAULT", "log_file", CONF_STRING, NULL,
	 "File for the log and for the notifications of driver log; standard error if unset. Opened anew on "
	 "SIGHUP."},
	{"DEFAULT", "log_dir", CONF_STRING, NULL, "Directory that a relative log_file is in."},
	{"DEFAULT", "debug", CONF_BOOL, "false",
	 "Log everything, what is of interest only to those who look for a fault included."},
	{"DEFAULT", "image_size_cap", CONF_INT, TIB,
	 "Largest image. An upload or import beyond it is refused with 413.", 1, INT64_MAX, .unit = "octets"},
	{"DEFAULT", "image_property_quota", CONF_INT, "128",
	 "Custom properties an image may have; -1: any number.", -1, 1000000},
	{"DEFAULT", "image_tag_quota", CONF_INT, "128", "Tags an image may have; -1: any number.", -1, 1000000},
	{"DEFAULT", "image_member_quota", CONF_INT, "128", "Members an image may have; -1: any number.", -1,
	 1000000},
	{"DEFAULT", "property_protection_file", CONF_STRING, NULL,
	 "File that says by their names who may create, read, update and delete custom properties. Read again when it "
	 "changes. Unset: whoever may change an image may change all its properties."},
	{"DEFAULT", "property_protection_rule_format", CONF_CHOICE, "roles",
	 "What stands in that file: names of roles, or for each action the name of one rule of the policy.", 0, 0,
	 "roles|policies"},
	{"DEFAULT", "image_location_quota", CONF_INT, "10", "Locations an image may have; -1: any number.", -1, 1000000},
	{"DEFAULT", "user_storage_quota", CONF_STRING, "0",
	 "Octets that the images of a project may take, all copies and locations together, and once more what it has in "
	 "the staging area: 10GB, or another number with B, KB, MB, GB or TB (powers of 1024) or none; 0: any number. "
	 "Unified limits take its place."},
	{"DEFAULT", "limit_param_default", CONF_INT, "25", "Images on a page when the client does not say.", 1,
	 1000000},
	{"DEFAULT", "api_limit_max", CONF_INT, "1000", "Images on a page at most.", 1, 1000000},
	{"DEFAULT", "max_request_id_length", CONF_INT, "64",
	 "Longest X-Openstack-Request-Id of a client.", 1, 1024, .unit = "characters"},
	{"DEFAULT", "hashing_algorithm", CONF_STRING, "sha512",
	 "Algorithm of os_hash_value; MD5 is always computed as well."},
	{"DEFAULT", "metadata_encryption_key", CONF_STRING, NULL,
	 "Key of 16, 24 or 32 characters under which locations are kept in the database. Without it they "
	 "cannot be read: keep a copy."},
	{"DEFAULT", "default_publisher_id", CONF_STRING, NULL,
	 "publisher_id of notifications; the host name if unset."},
	{"DEFAULT", "disabled_notifications", CONF_LIST, NULL,
	 "Events (image.send) and groups (image, image.member) that are not emitted."},
	{"DEFAULT", "transport_url", CONF_STRING, "rabbit://",
	 "The message queue: rabbit://user:password@host:5672/vhost, several hosts separated by commas."},
	{"DEFAULT", "control_exchange", CONF_STRING, "glance", "Exchange that notifications are published to."},
	{"DEFAULT", "enabled_backends", CONF_LIST, NULL,
	 "The stores as id:type; this version has the types file and http (read only)."},
	{"DEFAULT", "show_image_direct_url", CONF_BOOL, "false",
	 "Images say by direct_url where their data is, to those who may see it (get_image_location)."},
	{"DEFAULT", "show_multiple_locations", CONF_BOOL, "false",
	 "Images have a list of locations, which those who may (set_image_location) change by PATCH."},
	{"DEFAULT", "http_retries", CONF_INT, "3",
	 "How often a task begins anew to read a location after its server has failed.", 0, 100},

	{"database", "connection", CONF_STRING, NULL,
	 "sqlite:////absolute/path of the database; DATA_DIR/glint.sqlite if unset."},

	{"DEFAULT", "node_staging_uri", CONF_STRING, NULL,
	 "file:///directory in which image data waits for its import; DATA_DIR/staging if unset."},

	{"glance_store", "default_backend", CONF_STRING, NULL, "Id of the store that new images go to."},
	{"glance_store", "stores", CONF_LIST, "file", "Kinds of stores without names: file, or file,http."},
	{"glance_store", "default_store", CONF_STRING, "file", "Kind of store that new images go to."},
	{"glance_store", "filesystem_store_datadir", CONF_STRING, NULL,
	 "Directory of the images; DATA_DIR/images if unset."},
	{"glance_store", "https_ca_certificates_file", CONF_STRING, NULL,
	 "Certificates that a store of type http trusts; the system's if unset."},
	{"glance_store", "https_insecure", CONF_BOOL, "false",
	 "A store of type http takes any certificate. Glance's default is true."},
	{"glance_store", "store_description", CONF_STRING, NULL,
	 "What clients are told about the store. Goes into the section of each of enabled_backends."},
	{"glance_store", "weight", CONF_INT, "0",
	 "An image in several stores is read from the one with the highest weight.", -1000000, 1000000},
	{"glance_store", "filesystem_store_file_perm", CONF_INT, "0",
	 "Permissions of image files; 0: 640.", 0, 777, .unit = "octal digits"},
	{"glance_store", "filesystem_thin_provisioning", CONF_BOOL, "false",
	 "Zeros of an image, 64 KiB and more, take no room on the disk (holes)."},

	{"image_format", "disk_formats", CONF_LIST, "ami,ari,aki,vhd,vhdx,vmdk,raw,qcow2,vdi,iso,ploop",
	 "Values that disk_format may have."},
	{"image_format", "container_formats", CONF_LIST, "ami,ari,aki,bare,ovf,ova,docker,compressed",
	 "Values that container_format may have."},
	{"image_format", "require_image_format_match", CONF_BOOL, "true",
	 "Refuse images whose data is not what disk_format says, or points outside itself; if false, warn of them."},
	{"image_format", "vmdk_allowed_types", CONF_LIST, "streamOptimized,monolithicSparse",
	 "Kinds of VMDK (createType) that are taken; those of several files never are."},
	{"image_format", "gpt_safety_checks_nonfatal", CONF_BOOL, "true",
	 "Take raw images with a strange partition table, with a warning; if false, refuse them."},

	{"paste_deploy", "flavor", CONF_STRING, "",
	 "keystone: a token that Keystone knows; trusted-auth: identity headers set by a proxy; empty: everybody is admin."},
	{"oslo_policy", "policy_file", CONF_STRING, "policy.yaml",
	 "File with policy rules, YAML or JSON, that take the place of the default ones; relative to the directory of "
	 "the configuration file. If unset, policy.yaml or else policy.json is read if it is there; if set, it has to be."},
	{"oslo_policy", "policy_dirs", CONF_MULTI, "policy.d",
	 "Directories whose files are read after policy_file, by name; relative like it. If unset, policy.d may be "
	 "missing. May be repeated."},
	{"oslo_policy", "enforce_scope", CONF_BOOL, "true",
	 "Only tokens of a project are taken. false is refused: this version has no rules for others."},
	{"oslo_policy", "enforce_new_defaults", CONF_BOOL, "true",
	 "The default rules are those of secure RBAC. false is refused: what Glance had before, nearly everything allowed "
	 "to everybody, is to be written into policy_file if that is meant."},
	{"oslo_middleware", "enable_proxy_headers_parsing", CONF_BOOL, "false",
	 "Believe what [glint] trusted_proxies say of who asks: X-Forwarded-For, -Proto, -Host, -Port and -Prefix, or "
	 "Forwarded."},
	{"healthcheck", "disable_by_file_path", CONF_STRING, NULL,
	 "While this file exists, /healthcheck answers 503."},
	{"cors", "allowed_origin", CONF_LIST, NULL,
	 "Origins (https://horizon.example.org) whose pages may use the API from a browser; * is any. None if unset. More, "
	 "with other rules, in sections [cors.NAME], which have the options of this one."},
	{"cors", "allow_credentials", CONF_BOOL, "true", "Such a page may send credentials."},
	{"cors", "expose_headers", CONF_LIST,
	 "X-Image-Meta-Checksum,X-Auth-Token,X-Subject-Token,X-Service-Token,X-OpenStack-Request-ID",
	 "Headers of answers that it may read."},
	{"cors", "max_age", CONF_INT, "3600", "How long a browser may remember what it may.", 0, 31536000,
	 .unit = "seconds"},
	{"cors", "allow_methods", CONF_LIST, "GET,PUT,POST,DELETE,PATCH", "Methods that it may use."},
	{"cors", "allow_headers", CONF_LIST,
	 "Content-MD5,X-Image-Meta-Checksum,X-Storage-Token,Accept-Encoding,X-Auth-Token,X-Identity-Status,X-Roles,"
	 "X-Service-Catalog,X-User-Id,X-Tenant-Id,X-OpenStack-Request-ID",
	 "Headers of requests that it may send, besides those that any page may."},
	{"oslo_messaging_notifications", "driver", CONF_MULTI, NULL,
	 "Where notifications go: messaging (format 1.0), messagingv2 (format 2.0), log, noop. May be "
	 "repeated."},
	{"oslo_messaging_notifications", "transport_url", CONF_STRING, NULL,
	 "The message queue for notifications; that of [DEFAULT] if unset."},
	{"oslo_messaging_notifications", "topics", CONF_LIST, "notifications",
	 "Topics: each notification goes to TOPIC.info, TOPIC.warn or TOPIC.error of each of them."},
	{"oslo_messaging_notifications", "retry", CONF_INT, "-1",
	 "How often one attempt to deliver may try to connect; nothing is lost after it. -1: no bound.", -1,
	 1000000},

	{"DEFAULT", "use_keystone_limits", CONF_BOOL, "false",
	 "The quotas of projects are unified limits in Keystone: image_size_total and image_stage_total (MiB), "
	 "image_count_total, image_count_uploading. What has no registered limit nobody may have; -1 is no limit."},
	{"oslo_limit", "auth_url", CONF_STRING, NULL, "Where Keystone is, with or without /v3."},
	{"oslo_limit", "auth_type", CONF_CHOICE, "password", "How to log in there.",
	 .choices = "password|v3password|v3applicationcredential"},
	{"oslo_limit", "username", CONF_STRING, NULL, "User who may read all limits: role reader on the system."},
	{"oslo_limit", "user_id", CONF_STRING, NULL, "The user by id."},
	{"oslo_limit", "user_domain_name", CONF_STRING, NULL, "Domain of the user."},
	{"oslo_limit", "user_domain_id", CONF_STRING, NULL, "Domain of the user, by id."},
	{"oslo_limit", "password", CONF_STRING, NULL, "Password of the user."},
	{"oslo_limit", "system_scope", CONF_CHOICE, NULL,
	 "What the token is for: with a project instead, Keystone may hide the limits of other projects.",
	 .choices = "all"},
	{"oslo_limit", "project_name", CONF_STRING, NULL, "Project that the token is for, unless system_scope is set."},
	{"oslo_limit", "project_id", CONF_STRING, NULL, "The project by id."},
	{"oslo_limit", "project_domain_name", CONF_STRING, NULL, "Domain of the project."},
	{"oslo_limit", "project_domain_id", CONF_STRING, NULL, "Domain of the project, by id."},
	{"oslo_limit", "application_credential_id", CONF_STRING, NULL, "For v3applicationcredential."},
	{"oslo_limit", "application_credential_secret", CONF_STRING, NULL, "For v3applicationcredential."},
	{"oslo_limit", "endpoint_id", CONF_STRING, NULL,
	 "Endpoint of the image service in Keystone: its service and region are those of the limits."},
	{"oslo_limit", "endpoint_service_name", CONF_STRING, NULL,
	 "Without endpoint_id: name of the service that the endpoint belongs to."},
	{"oslo_limit", "endpoint_service_type", CONF_STRING, NULL, "Without endpoint_id: type of that service."},
	{"oslo_limit", "endpoint_region_name", CONF_STRING, NULL, "Without endpoint_id: region of the endpoint."},
	{"oslo_limit", "endpoint_interface", CONF_CHOICE, "publicURL", "Without endpoint_id: interface of the endpoint.",
	 .choices = "public|publicURL|internal|internalURL|admin|adminURL"},
	{"oslo_limit", "cafile", CONF_STRING, NULL, "Certificates that Keystone's is verified by; the system's if unset."},
	{"oslo_limit", "certfile", CONF_STRING, NULL, "Certificate that is shown to Keystone."},
	{"oslo_limit", "keyfile", CONF_STRING, NULL, "Key of that certificate."},
	{"oslo_limit", "insecure", CONF_BOOL, "false", "Take any certificate for Keystone's."},
	{"oslo_limit", "timeout", CONF_INT, "10",
	 "Time that Keystone has to say what the limits of a project are, logging in included.", 1, 3600,
	 .unit = "seconds"},

	{"DEFAULT", "enabled_import_methods", CONF_LIST, "glance-direct,web-download",
	 "How images can be imported: glance-direct, web-download, copy-image."},
	{"import_filtering_opts", "allowed_schemes", CONF_LIST, "http,https",
	 "Schemes that web-download may use."},
	{"import_filtering_opts", "disallowed_schemes", CONF_LIST, NULL,
	 "Schemes it may not use; counts only while allowed_schemes is empty."},
	{"import_filtering_opts", "allowed_hosts", CONF_LIST, NULL, "Hosts it may download from; empty: any."},
	{"import_filtering_opts", "disallowed_hosts", CONF_LIST, NULL,
	 "Hosts it may not download from; counts only while allowed_hosts is empty."},
	{"import_filtering_opts", "allowed_ports", CONF_LIST, "80,443", "Ports it may connect to."},
	{"import_filtering_opts", "disallowed_ports", CONF_LIST, NULL,
	 "Ports it may not connect to; counts only while allowed_ports is empty."},
	{"image_import_opts", "image_import_plugins", CONF_LIST, NULL,
	 "What is done to imported images: inject_image_metadata, image_decompression, image_conversion, "
	 "no_op."},
	{"inject_metadata_properties", "ignore_user_roles", CONF_LIST, "admin",
	 "Roles whose imports get no injected properties."},
	{"inject_metadata_properties", "inject", CONF_LIST, NULL,
	 "Properties that inject_image_metadata sets, as name:value."},
	{"image_conversion", "output_format", CONF_CHOICE, "raw",
	 "The format that image_conversion makes.", 0, 0, "raw|qcow2|vmdk"},
	{"taskflow_executor", "max_workers", CONF_INT, "10",
	 "Tasks that run at a time; further ones wait.", 1, 256},
	{"task", "task_time_to_live", CONF_INT, "48", "Time from the end of a task to its expiry.", 1, 100000,
	 .unit = "hours"},

	{"glint", "allow_task_import", CONF_BOOL, "false",
	 "Let admins make images by POST /v2/tasks with type import, which clients have long stopped doing."},
	{"glint", "web_download_allow_networks", CONF_LIST, NULL,
	 "Networks (10.1.0.0/16) that web-download may connect to though they are private, link-local or "
	 "loopback."},
	{"glint", "web_download_ca_file", CONF_STRING, NULL,
	 "Certificates web-download trusts; the system's if unset."},
	{"glint", "web_download_connect_timeout", CONF_INT, "20",
	 "Time in which a connection has to be made.", 1, 3600, .unit = "seconds"},
	{"glint", "web_download_stall_timeout", CONF_INT, "60",
	 "Time without an octet that ends a download.", 1, 86400, .unit = "seconds"},
	{"glint", "web_download_min_rate", CONF_INT, "1024",
	 "A download that is slower is ended; 0: none is.", 0, INT64_MAX, .unit = "octets a second"},
	{"glint", "web_download_max_redirects", CONF_INT, "5", "Redirects that a download follows.", 0, 50},
	{"glint", "web_download_max_resumes", CONF_INT, "5",
	 "How often in a row a broken download goes on where it was without getting any further.", 0, 1000},
	{"glint", "max_far", CONF_INT, "16", "Downloads at a time of data that lies on other servers; further ones wait.", 1,
	 1024},
	{"glint", "max_location_reads", CONF_INT, "8",
	 "Locations that are read at a time for requests that add them. More is refused with 503.", 1, 64},
	{"glint", "max_location_reads_per_project", CONF_INT, "2", "Of these, for one project.", 1, 64},
	{"glint", "qemu_img", CONF_STRING, "qemu-img", "The program that image_conversion runs."},
	{"glint", "conversion_cpu_time", CONF_INT, "1800", "CPU time that one conversion may take.", 1, 864000,
	 .unit = "seconds"},
	{"glint", "conversion_memory", CONF_INT, "1024", "Memory that one conversion may take.", 128, 1048576,
	 .unit = "MiB"},

	{"glint", "allow_insecure", CONF_BOOL, "false",
	 "Listen on other addresses than loopback without authentication of our own."},
	{"glint", "listen", CONF_LIST, NULL,
	 "Addresses to listen on, each HOST:PORT or unix:/path, instead of bind_host and bind_port. UNIX sockets are never "
	 "encrypted and count as this machine."},
	{"glint", "unix_socket_mode", CONF_INT, "660", "Permissions of UNIX sockets.", 0, 777, .unit = "octal digits"},
	{"glint", "trusted_proxies", CONF_LIST, "127.0.0.0/8,::1,unix",
	 "Networks of the proxies that are believed, and unix for who comes by a UNIX socket. The client is the last "
	 "address that is none of them."},
	{"glint", "kernel_tls", CONF_BOOL, "false",
	 "Let the kernel encrypt images that are downloaded, if it can (module tls)."},
	{"glint", "image_delete_payload", CONF_CHOICE, "image",
	 "Payload of image.delete: the whole image, or its id alone.", 0, 0, "image|id"},
	{"glint", "metrics_listen", CONF_STRING, NULL,
	 "HOST:PORT on which alone GET /metrics is answered; if unset, the API does so, for clients on this "
	 "machine."},
	{"glint", "journal_max_age", CONF_INT, "604800",
	 "Delivered notifications are kept this long, to replay them. What is not delivered is kept whatever "
	 "its age.", 0, INT64_MAX / 2000000, .unit = "seconds"},
	{"glint", "journal_max_size", CONF_INT, "1024",
	 "Delivered notifications are kept up to this size together. What is not delivered is kept whatever "
	 "its size.", 1, 1048576, .unit = "MiB"},
	{"glint", "image_cache_size", CONF_INT, "8",
	 "Memory in which what lists show of images is kept ready; 0: none.", 0, 65536, .unit = "MiB"},
	{"glint", "project_create_rate", CONF_INT, "0",
	 "Images that a project may make in a minute, and at once. More is refused with 429; 0: any number. Service users "
	 "are not counted.", 0, 1000000, .unit = "a minute"},
	{"glint", "project_change_rate", CONF_INT, "0",
	 "Changes other than new images (PATCH, uploads, tags, members, deletes, imports ...) that a project may ask for in a "
	 "minute, and at once. Each makes notifications. More is refused with 429; 0: any number.", 0, 1000000,
	 .unit = "a minute"},
	{"glint", "max_connections", CONF_INT, "20000",
	 "Connections at a time; further ones wait.", 1, 1000000},
	{"glint", "max_workers", CONF_INT, "64", "Threads for requests that change something.", 1, 1024},
	{"glint", "max_uploads", CONF_INT, "256", "Uploads at a time; further ones wait.", 1, 65536},
	{"glint", "max_body_size", CONF_INT, "1048576",
	 "Largest JSON body. A larger one is refused with 413.", 1024, 1073741824, .unit = "octets"},
	{"glint", "max_header_size", CONF_INT, "16384",
	 "Request line and headers together. More is refused with 431.", 1024, 1048576, .unit = "octets"},
	{"glint", "idle_timeout", CONF_INT, "75",
	 "A connection may be idle so long between requests.", 1, 86400, .unit = "seconds"},
	{"glint", "header_timeout", CONF_INT, "20",
	 "Time in which the headers of a request have to be there.", 1, 86400, .unit = "seconds"},
	{"glint", "body_timeout", CONF_INT, "300",
	 "Time without a single octet that ends an upload or a download.", 1, 86400, .unit = "seconds"},
	{"glint", "min_rate", CONF_INT, "0", "An upload or a download that is slower is ended; 0: none is.", 0,
	 INT64_MAX, .unit = "octets a second"},
	{"glint", "crowded_timeout", CONF_INT, "10",
	 "Time over which crowded_rate counts, while an upload waits because max_uploads run, or a download because "
	 "max_far do; the latter gives way as well if its source sends nothing for so long.", 1, 86400,
	 .unit = "seconds"},
	{"glint", "crowded_rate", CONF_INT, "4096",
	 "An upload that is slower gives way, with 408, to one that waits; 0: none does.", 0, INT64_MAX,
	 .unit = "octets a second"},
	{"glint", "limits_cache_time", CONF_INT, "60",
	 "How long the limits of a project count before they are asked for again. Those in use are renewed before.", 1,
	 86400, .unit = "seconds"},
	{"glint", "limits_stale_time", CONF_INT, "3600",
	 "How much longer they count while Keystone does not answer.", 0, 2592000, .unit = "seconds"},
	{"glint", "limits_cache_projects", CONF_INT, "10000", "Projects whose limits are kept.", 1, 10000000},
	{"glint", "limits_max_waiting", CONF_INT, "256",
	 "Projects whose limits are asked for at a time; requests that need those of another one answer 503.", 1, 65536},
	{"glint", "shutdown_timeout", CONF_INT, "60",
	 "Time in which running requests and tasks may finish on SIGTERM.", 0, 86400, .unit = "seconds"},
	{0},
};

static size_t count(const struct conf_option *table)
{
	size_t n = 0;

	while (table && table[n].section)
		n++;
	return n;
}

/* Drivers may share a table. */
static bool is_first_with(size_t i)
{
	for (size_t k = 0; k < i; k++) {
		if (notify_drivers[k]->options == notify_drivers[i]->options)
			return false;
	}
	return notify_drivers[i]->options;
}

int options_all(struct arena *a, const struct conf_option **ret, struct err *err)
{
	struct conf_option *all;
	size_t n = count(own_options);

	for (size_t i = 0; notify_drivers[i]; i++)
		n += is_first_with(i) ? count(notify_drivers[i]->options) : 0;
	n += count(keystone_options) + count(glance_only_options);
	all = arena_alloc(a, (n + 1) * sizeof(*all)); /* zeroed: the end of the table */
	if (!all)
		return err_nomem(err);
	n = count(own_options);
	memcpy(all, own_options, n * sizeof(*all));
	memcpy(all + n, keystone_options, count(keystone_options) * sizeof(*all));
	n += count(keystone_options);
	for (size_t i = 0; notify_drivers[i]; i++) {
		size_t more = is_first_with(i) ? count(notify_drivers[i]->options) : 0;

		if (more > 0)
			memcpy(all + n, notify_drivers[i]->options, more * sizeof(*all));
		n += more;
	}
	memcpy(all + n, glance_only_options, count(glance_only_options) * sizeof(*all));
	*ret = all;
	return 0;
}
