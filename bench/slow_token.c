/*
 * slow_token: a PKCS#11 module in front of another one, for tests and benchmarks. It makes a fast software token
 * behave like a token on a network, or like a broken one.
 *
 *   cc -O2 -shared -fPIC -I/usr/include/p11-kit-1 -o slow_token.so bench/slow_token.c -ldl
 *
 * Environment, read once when the module is loaded:
 *   SHIM_TARGET=FILE  the module behind this one (required)
 *   SHIM_US=N         every C_Sign takes N microseconds longer
 *   SHIM_FAIL=N       every N-th C_Sign signs, throws the signature away and returns CKR_DEVICE_ERROR
 *   SHIM_LOSE=N       at every N-th C_Sign the token forgets its sessions: CKR_SESSION_HANDLE_INVALID until C_Finalize
 *   SHIM_DOWN=FILE    as long as the file exists the token is away: CKR_DEVICE_REMOVED
 *   SHIM_FLAGS=N      the token's flags have these bits as well (0x20000: one PIN attempt left)
 *   SHIM_LOG=FILE     append a line "PID CALL DETAIL" for each call that tests count
 *
 * Everything else is passed through, so the caller's threads are the target's business: only C_Initialize's flags
 * decide whether the target locks.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <p11-kit/pkcs11.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static CK_FUNCTION_LIST front;
static CK_FUNCTION_LIST_PTR target;
static long delay_us;
static long fail_every;
static long lose_every;
static CK_FLAGS more_flags;
static const char *down_file;
static int log_fd = -1;
static long sign_count;
static volatile int is_lost; /* not by C_CloseAllSessions: that crashes SoftHSM while other threads sign */

static void note(const char *call, unsigned long detail)
{
    char line[96];
    if (log_fd < 0)
        return;
    int length = snprintf(line, sizeof line, "%d %s %lu\n", (int)getpid(), call, detail);
    if (write(log_fd, line, (size_t)length) != length) /* O_APPEND: whole lines, whoever else writes */
        abort();
}

static int is_down(void)
{
    return down_file != NULL && access(down_file, F_OK) == 0;
}

static void wait_us(long microseconds)
{
    struct timespec pause = {microseconds / 1000000, (microseconds % 1000000) * 1000};
    nanosleep(&pause, NULL);
}

static CK_RV front_initialize(void *arguments)
{
    CK_C_INITIALIZE_ARGS_PTR given = arguments;
    note("C_Initialize", given == NULL ? 0 : given->flags);
    return is_down() ? CKR_DEVICE_REMOVED : target->C_Initialize(arguments);
}

static CK_RV front_finalize(void *reserved)
{
    note("C_Finalize", 0);
    is_lost = 0;
    return target->C_Finalize(reserved);
}

static CK_RV front_get_token_info(CK_SLOT_ID slot, CK_TOKEN_INFO_PTR info)
{
    CK_RV answer = is_down() ? CKR_DEVICE_REMOVED : target->C_GetTokenInfo(slot, info);
    if (answer == CKR_OK)
        info->flags |= more_flags;
    return answer;
}

static CK_RV front_open_session(CK_SLOT_ID slot, CK_FLAGS flags, void *data, CK_NOTIFY notify,
                                CK_SESSION_HANDLE *session)
{
    note("C_OpenSession", flags);
    return is_down() ? CKR_DEVICE_REMOVED : target->C_OpenSession(slot, flags, data, notify, session);
}

static CK_RV front_login(CK_SESSION_HANDLE session, CK_USER_TYPE user, CK_BYTE_PTR pin, CK_ULONG length)
{
    note("C_Login", user);
    return is_down() ? CKR_DEVICE_REMOVED : target->C_Login(session, user, pin, length);
}

static CK_RV front_find_objects_init(CK_SESSION_HANDLE session, CK_ATTRIBUTE_PTR template, CK_ULONG count)
{
    note("C_FindObjectsInit", count);
    return is_down() ? CKR_DEVICE_REMOVED : target->C_FindObjectsInit(session, template, count);
}

static CK_RV front_generate_key_pair(CK_SESSION_HANDLE session, CK_MECHANISM_PTR mechanism,
                                     CK_ATTRIBUTE_PTR public_template, CK_ULONG public_count,
                                     CK_ATTRIBUTE_PTR private_template, CK_ULONG private_count,
                                     CK_OBJECT_HANDLE_PTR public_key, CK_OBJECT_HANDLE_PTR private_key)
{
    note("C_GenerateKeyPair", mechanism->mechanism);
    return is_down() ? CKR_DEVICE_REMOVED
                     : target->C_GenerateKeyPair(session, mechanism, public_template, public_count, private_template,
                                                 private_count, public_key, private_key);
}

static CK_RV front_sign_init(CK_SESSION_HANDLE session, CK_MECHANISM_PTR mechanism, CK_OBJECT_HANDLE key)
{
    return is_lost ? CKR_SESSION_HANDLE_INVALID : target->C_SignInit(session, mechanism, key);
}

static CK_RV front_sign(CK_SESSION_HANDLE session, CK_BYTE_PTR data, CK_ULONG data_length, CK_BYTE_PTR signature,
                        CK_ULONG_PTR signature_length)
{
    CK_BYTE thrown_away[512];
    CK_ULONG thrown_away_length = sizeof thrown_away;

    note("C_Sign", signature == NULL ? 0 : data_length);
    if (is_down())
        return CKR_DEVICE_REMOVED;
    if (delay_us)
        wait_us(delay_us); /* also when only the length is asked: on a network this is a round trip as well */
    if (signature == NULL)
        return target->C_Sign(session, data, data_length, signature, signature_length);
    long n = __sync_add_and_fetch(&sign_count, 1);
    if (lose_every && n % lose_every == 0)
        is_lost = 1;
    if (is_lost)
        return CKR_SESSION_HANDLE_INVALID;
    if (fail_every && n % fail_every == 0) {
        target->C_Sign(session, data, data_length, thrown_away, &thrown_away_length);
        return CKR_DEVICE_ERROR;
    }
    return target->C_Sign(session, data, data_length, signature, signature_length);
}

static long number(const char *name)
{
    const char *text = getenv(name);
    return text == NULL ? 0 : strtol(text, NULL, 0);
}

static CK_RV load_target(void)
{
    const char *file = getenv("SHIM_TARGET");
    const char *log_file = getenv("SHIM_LOG");
    void *library = file == NULL ? NULL : dlopen(file, RTLD_NOW | RTLD_LOCAL);
    if (library == NULL) {
        fprintf(stderr, "slow_token: SHIM_TARGET: %s\n", file == NULL ? "not set" : dlerror());
        return CKR_GENERAL_ERROR;
    }
    CK_C_GetFunctionList get_list = (CK_C_GetFunctionList)dlsym(library, "C_GetFunctionList");
    CK_RV answer = get_list == NULL ? CKR_GENERAL_ERROR : get_list(&target);
    if (answer != CKR_OK)
        return answer;
    delay_us = number("SHIM_US");
    fail_every = number("SHIM_FAIL");
    lose_every = number("SHIM_LOSE");
    more_flags = (CK_FLAGS)number("SHIM_FLAGS");
    down_file = getenv("SHIM_DOWN");
    if (log_file != NULL)
        log_fd = open(log_file, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    front = *target;
    front.C_GetFunctionList = C_GetFunctionList;
    front.C_Initialize = front_initialize;
    front.C_Finalize = front_finalize;
    front.C_GetTokenInfo = front_get_token_info;
    front.C_OpenSession = front_open_session;
    front.C_Login = front_login;
    front.C_FindObjectsInit = front_find_objects_init;
    front.C_GenerateKeyPair = front_generate_key_pair;
    front.C_SignInit = front_sign_init;
    front.C_Sign = front_sign;
    return CKR_OK;
}

CK_RV C_GetFunctionList(CK_FUNCTION_LIST_PTR_PTR list)
{
    if (target == NULL) {
        CK_RV answer = load_target();
        if (answer != CKR_OK)
            return answer;
    }
    *list = &front;
    return CKR_OK;
}
