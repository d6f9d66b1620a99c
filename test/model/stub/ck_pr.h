/* In the model a pause is a chance for the others. */
#ifndef MODEL_CK_PR_H
#define MODEL_CK_PR_H
int model_yield(void);
#define ck_pr_stall() ((void)model_yield())
#endif
