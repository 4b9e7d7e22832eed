/*
 * raw_pkcs11: how many signatures a PKCS#11 token makes when nothing but C stands before it: the limit that the
 * Python signer is measured against.
 *
 *   cc -O2 -I/usr/include/p11-kit-1 -o raw_pkcs11 bench/raw_pkcs11.c -ldl -lpthread
 *   raw_pkcs11 MODULE TOKEN_LABEL PIN_FILE KEY_LABEL THREADS SECONDS [MECHANISM [OCTETS]]
 *
 * MECHANISM defaults to 0x1041 (CKM_ECDSA), OCTETS (what is signed) to 32; Ed448 is 0x1057. The PIN is read from a
 * file, never from the command line, where every user of the machine could see it. Each thread has a session of its
 * own; the module is initialised with OS locking. SoftHSM reads SOFTHSM2_CONF as usual. Prints one line of JSON:
 *
 *   {"key": "...", "threads": 1, "signatures_per_second": 14800, "cpu_us_per_signature": 61.2}
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <p11-kit/pkcs11.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define MAX_THREADS 64
#define MAX_TOKENS 64
#define MAX_DATA 2048
#define MAX_SIGNATURE 512
#define MAX_PIN 256
#define CALLS_BETWEEN_CLOCK_READS 20

static CK_FUNCTION_LIST_PTR token;
static CK_SLOT_ID slot;
static const char *key_label;
static CK_MECHANISM_TYPE mechanism_type = CKM_ECDSA;
static CK_ULONG data_octets = 32;
static double seconds;
static long counts[MAX_THREADS];

static void fail(const char *what, CK_RV answer)
{
    fprintf(stderr, "raw_pkcs11: %s: 0x%lx\n", what, answer);
    exit(1);
}

static void check(const char *what, CK_RV answer)
{
    if (answer != CKR_OK)
        fail(what, answer);
}

static double clock_seconds(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

static void load_module(const char *file)
{
    void *library = dlopen(file, RTLD_NOW);
    CK_C_GetFunctionList get_list = library == NULL ? NULL : (CK_C_GetFunctionList)dlsym(library, "C_GetFunctionList");
    if (get_list == NULL) {
        fprintf(stderr, "raw_pkcs11: %s\n", dlerror());
        exit(1);
    }
    check("C_GetFunctionList", get_list(&token));
    CK_C_INITIALIZE_ARGS arguments = {.flags = CKF_OS_LOCKING_OK};
    check("C_Initialize", token->C_Initialize(&arguments));
}

static CK_SLOT_ID find_slot(const char *label)
{
    CK_SLOT_ID slots[MAX_TOKENS];
    CK_ULONG count = MAX_TOKENS;
    char padded[sizeof((CK_TOKEN_INFO *)0)->label];

    memset(padded, ' ', sizeof padded);
    memcpy(padded, label, strnlen(label, sizeof padded));
    check("C_GetSlotList", token->C_GetSlotList(CK_TRUE, slots, &count));
    for (CK_ULONG i = 0; i < count; i++) {
        CK_TOKEN_INFO info;
        if (token->C_GetTokenInfo(slots[i], &info) == CKR_OK && memcmp(info.label, padded, sizeof padded) == 0)
            return slots[i];
    }
    fail("no token has that label", CKR_TOKEN_NOT_PRESENT);
    return 0;
}

static CK_SESSION_HANDLE open_session(void)
{
    CK_SESSION_HANDLE session;
    check("C_OpenSession", token->C_OpenSession(slot, CKF_SERIAL_SESSION, NULL, NULL, &session));
    return session;
}

static void log_in(CK_SESSION_HANDLE session, const char *pin_file)
{
    char pin[MAX_PIN];
    FILE *stream = fopen(pin_file, "r");
    if (stream == NULL || fgets(pin, sizeof pin, stream) == NULL) {
        perror("raw_pkcs11: PIN file");
        exit(1);
    }
    fclose(stream);
    pin[strcspn(pin, "\n")] = '\0';
    check("C_Login", token->C_Login(session, CKU_USER, (CK_BYTE_PTR)pin, strlen(pin)));
    explicit_bzero(pin, sizeof pin);
}

static CK_OBJECT_HANDLE find_key(CK_SESSION_HANDLE session)
{
    CK_OBJECT_CLASS class = CKO_PRIVATE_KEY;
    CK_ATTRIBUTE template[] = {{CKA_CLASS, &class, sizeof class}, {CKA_LABEL, (void *)key_label, strlen(key_label)}};
    CK_OBJECT_HANDLE key;
    CK_ULONG count = 0;
    check("C_FindObjectsInit", token->C_FindObjectsInit(session, template, 2));
    check("C_FindObjects", token->C_FindObjects(session, &key, 1, &count));
    check("C_FindObjectsFinal", token->C_FindObjectsFinal(session));
    if (count == 0)
        fail("no private key has that label", CKR_KEY_HANDLE_INVALID);
    return key;
}

static void *sign_until_the_end(void *argument)
{
    long *count = argument;
    CK_SESSION_HANDLE session = open_session();
    CK_OBJECT_HANDLE key = find_key(session);
    CK_MECHANISM mechanism = {mechanism_type, NULL, 0};
    CK_BYTE data[MAX_DATA];
    CK_BYTE signature[MAX_SIGNATURE];
    double end = clock_seconds(CLOCK_MONOTONIC) + seconds;

    memset(data, 7, sizeof data);
    while (clock_seconds(CLOCK_MONOTONIC) < end) {
        for (int i = 0; i < CALLS_BETWEEN_CLOCK_READS; i++) {
            CK_ULONG length = sizeof signature;
            memcpy(data, count, sizeof *count); /* another digest each time */
            check("C_SignInit", token->C_SignInit(session, &mechanism, key));
            check("C_Sign", token->C_Sign(session, data, data_octets, signature, &length));
            ++*count;
        }
    }
    return NULL;
}

int main(int argc, char **argv)
{
    if (argc < 7) {
        fprintf(stderr, "usage: raw_pkcs11 MODULE TOKEN_LABEL PIN_FILE KEY_LABEL THREADS SECONDS"
                        " [MECHANISM [OCTETS]]\n");
        return 2;
    }
    key_label = argv[4];
    long threads = atol(argv[5]);
    seconds = atof(argv[6]);
    if (argc > 7)
        mechanism_type = strtoul(argv[7], NULL, 0);
    if (argc > 8)
        data_octets = strtoul(argv[8], NULL, 0);
    if (threads < 1 || threads > MAX_THREADS || data_octets < sizeof counts[0] || data_octets > MAX_DATA) {
        fprintf(stderr, "raw_pkcs11: 1 to %d threads, %zu to %d octets\n", MAX_THREADS, sizeof counts[0], MAX_DATA);
        return 2;
    }

    load_module(argv[1]);
    slot = find_slot(argv[2]);
    log_in(open_session(), argv[3]);

    pthread_t running[MAX_THREADS];
    double cpu_before = clock_seconds(CLOCK_PROCESS_CPUTIME_ID);
    double before = clock_seconds(CLOCK_MONOTONIC);
    for (long i = 0; i < threads; i++)
        if (pthread_create(&running[i], NULL, sign_until_the_end, &counts[i]) != 0)
            fail("pthread_create", CKR_HOST_MEMORY);
    long total = 0;
    for (long i = 0; i < threads; i++) {
        pthread_join(running[i], NULL);
        total += counts[i];
    }
    double elapsed = clock_seconds(CLOCK_MONOTONIC) - before;
    double cpu = clock_seconds(CLOCK_PROCESS_CPUTIME_ID) - cpu_before;

    token->C_Finalize(NULL);
    printf("{\"key\": \"%s\", \"threads\": %ld, \"signatures_per_second\": %.0f, \"cpu_us_per_signature\": %.1f}\n",
           key_label, threads, (double)total / elapsed, cpu * 1e6 / (double)total);
    return 0;
}
