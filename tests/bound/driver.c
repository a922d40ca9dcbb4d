/* The loops in a process of their own, for sanitizers and emulators: for each file of the arguments a line `refused`, or
   one with the logits of all positions of made tokens: half a context at once, then three together, then one by one. */

#include BOUND_SOURCE
#include <stdio.h>

static void run_all(Model *m) {
    int32_t count, context = m->context;
    int32_t *tokens = malloc(context * sizeof *tokens);
    float *logits = malloc((size_t)context * m->vocabulary * sizeof *logits);
    for (int32_t i = 0; i < context; i++)
        tokens[i] = (int32_t)((i * 7 + 3) % m->vocabulary);
    for (int32_t begin = 0; begin < context; begin += count) {
        count = begin == 0 ? (context + 1) / 2 : begin == (context + 1) / 2 ? 3 : 1;
        count = count > context - begin ? context - begin : count;
        float *rows = logits + (size_t)begin * m->vocabulary;
        if (bound_run(m, tokens + begin, count, begin, 1, rows) ||
            bound_run(m, tokens + begin, count, begin, 0, rows + (size_t)(count - 1) * m->vocabulary))
            exit(3);
    }
    for (size_t i = 0; i < (size_t)context * m->vocabulary; i++)
        printf("%.9g ", logits[i]);
    printf("\n");
    free(tokens);
    free(logits);
}

int main(int count, char **names) {
    for (int i = 1; i < count; i++) {
        FILE *file = fopen(names[i], "rb");
        fseek(file, 0, SEEK_END);
        long size = ftell(file);
        rewind(file);
        uint8_t *content = malloc(size ? size : 1);
        if (fread(content, 1, size, file) != (size_t)size)
            return 2;
        fclose(file);
        Model *m = NULL;
        const char *wrong = bound_open(content, size, &m);
        free(content);
        if (wrong)
            printf("refused\n");
        else
            run_all(m);
        if (!wrong)
            bound_close(m);
    }
    return 0;
}
